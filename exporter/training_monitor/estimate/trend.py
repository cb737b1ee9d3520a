"""Where loss and MFU are going."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import median, quantiles

from training_monitor.estimate.columns import number
from training_monitor.records import CurvePoint

RECENT_STEPS = 1000
LEAST_POINTS = 5
MOST_POINTS = 24


def loss_per_1000_steps(points: Sequence[CurvePoint]) -> float | None:
    """Median of the slopes between all pairs of recent points (Theil 1950, Sen 1968), in loss per 1000 steps.

    Recent: the last 1000 steps, or the last five points where the log is sparse. None with fewer points.
    """
    known = [(p.step, p.loss) for p in _recent(points) if p.loss is not None]
    if len(known) < LEAST_POINTS:
        return None
    slopes = [(y - x) / (t - s) for (s, x), (t, y) in combinations(known, 2) if t > s]
    return number(1000 * median(slopes)) if slopes else None


def mfu_relative_spread(points: Sequence[CurvePoint]) -> float | None:
    """Robust standard deviation of the recent MFU over its median: interquartile range / 1.349. 0.02 is ± 2 %."""
    known = [p.mfu_ratio for p in _recent(points) if p.mfu_ratio is not None]
    if len(known) < LEAST_POINTS:
        return None
    low, middle, high = quantiles(known, n=4)
    return number((high - low) / 1.349 / middle) if middle > 0 else None


def _recent(points: Sequence[CurvePoint]) -> Sequence[CurvePoint]:
    """Points of the last 1000 steps, at least five, at most 24."""
    if not points:
        return points
    since = points[-1].step - RECENT_STEPS
    n = sum(p.step > since for p in points[-MOST_POINTS:])
    return points[-max(n, LEAST_POINTS) :]
