"""Where the loss will end."""

from __future__ import annotations

from collections.abc import Sequence

from training_monitor.estimate.baseline import Reference
from training_monitor.estimate.curve import Row
from training_monitor.records import Interval


def final_loss(rows: Sequence[Row], total_steps: int, reference: Reference | None = None) -> Interval | None:
    """The loss expected at the last step with its 90 % interval; None while it is too early to say."""
    return None
