"""A batch of steps as columns: what the estimators work on, several times faster than step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from training_monitor.records import Column, Step, Steps


class Columns(NamedTuple):
    """The same fields of several steps, all of one length, steps rising. Units as in `records.Step`."""

    step: Sequence[int]
    loss: Column  # as the log shows it
    learning_rate: Column  # or the schedule multiplier, where only that is logged
    mfu_ratio: Column
    step_time_s: Column
    time: Column

    def part(self, i: int, j: int) -> Columns:
        """Lines `i` to before `j`."""
        step, loss, lr, mfu, step_time, time = self
        return Columns(step[i:j], loss[i:j], lr[i:j], mfu[i:j], step_time[i:j], time[i:j])


def columns_of(steps: Sequence[Step]) -> Columns:
    """The columns of steps as they were logged."""
    steps = Steps.of(steps)
    return Columns(steps.step, steps.loss, steps.rates, steps.mfu_ratio, steps.step_time_s, steps.time)


def finite(values: Column) -> list[float]:
    """The values that are numbers."""
    try:
        if math.isfinite(sum(values)):  # type: ignore[arg-type]  # all of them, as nearly always
            return list(values)  # type: ignore[arg-type]
    except TypeError:  # None among them
        pass
    return [v for v in values if v is not None and math.isfinite(v)]


def number(value: float | None) -> float | None:
    """`value` if it is a number, else None: absurd input may overflow."""
    return value if value is not None and math.isfinite(value) else None


def mean(values: Column) -> float | None:
    """The mean of the values that are numbers; None if there are none."""
    known = finite(values)
    return _mean(known)


def middle(values: Column) -> float | None:
    """The mean without the lowest and the highest eighth (at least one value on each side, from three values on).

    As robust as an occasional outlier needs, and nearly as precise as the mean for Gaussian noise; a median is not.
    """
    known = sorted(finite(values))
    if len(known) > 2:
        cut = max(1, len(known) // 8)
        known = known[cut:-cut]
    return _mean(known)


def _mean(known: list[float]) -> float | None:
    if not known:
        return None
    try:
        return math.fsum(known) / len(known)
    except OverflowError:  # the sum is too large, the mean is not
        return math.fsum(v / len(known) for v in known)
