"""What a run costs."""

from __future__ import annotations

from training_monitor.records import Cost


def cost_of(
    elapsed_s: float | None, remaining_s: float | None, usd_per_gpu_hour: float | None, gpus: int | None
) -> Cost | None:
    """Dollars so far and at the end; None unless price, number of devices and elapsed time are known."""
    if elapsed_s is None or usd_per_gpu_hour is None or not gpus:
        return None
    per_second = usd_per_gpu_hour * gpus / 3600
    total = None if remaining_s is None else (elapsed_s + remaining_s) * per_second
    return Cost(elapsed_s * per_second, total)
