"""Model FLOPs utilisation where the log does not print it."""

from __future__ import annotations

import math

from training_monitor.records import Scope


def computed_mfu(
    *,
    tokens_per_second: float | None = None,
    scope: Scope | None = None,
    tflops: float | None = None,
    flops_per_token: float | None = None,
    parameters: float | None = None,
    peak_flops: float | None = None,
    world_size: int | None = None,
) -> float | None:
    """Ratio of the FLOP/s that the model needs to those that the devices could do, or None where that is unknown.

    In this order: TFLOP/s per device over the peak; tokens per second times FLOPs per token over the peak of all
    devices; the same with 6 FLOPs per parameter and token (Kaplan et al. 2020, 2001.08361, section 2.1) where only the
    parameters are known. That last one leaves out attention and counts embeddings and inactive experts, so its level
    may be 10 to 30 % off for a dense model, while a change over time is right. A result above 1 cannot be (mixture of
    experts, FLOPs per token counted otherwise): it is None rather than wrong. Global tokens need `world_size`.
    """
    if not peak_flops or not math.isfinite(peak_flops) or peak_flops <= 0:
        return None
    done = (
        tflops * 1e12
        if tflops is not None
        else _flops(tokens_per_second, scope, flops_per_token, parameters, world_size)
    )
    if done is None or not 0 < done <= peak_flops:
        return None
    return done / peak_flops


def _flops(
    tokens_per_second: float | None,
    scope: Scope | None,
    flops_per_token: float | None,
    parameters: float | None,
    world_size: int | None,
) -> float | None:
    """FLOP/s of one device."""
    per_token = flops_per_token if flops_per_token is not None else 6 * parameters if parameters is not None else None
    devices = 1 if scope == "device" else world_size
    if tokens_per_second is None or per_token is None or not devices:
        return None
    return tokens_per_second * per_token / devices
