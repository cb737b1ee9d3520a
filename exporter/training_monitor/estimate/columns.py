"""Means of columns in which some values are missing, or are no numbers."""

from __future__ import annotations

import math

from training_monitor.records import Column


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
