"""Finds a loss whose swings have grown out of all proportion."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from training_monitor.detect.base import Detector, Found, Scores, event
from training_monitor.detect.thresholds import Thresholds
from training_monitor.detect.windows import median
from training_monitor.records import Step

WINDOW = 96  # points whose swings are measured
EVERY = 32  # points between two looks
LAG = 5  # points between the two ends of a swing
IQR = 1.349 * math.sqrt(2)  # quartile range of such differences, in standard deviations of a point
LOOKS, RECENT = 40, 4  # looks compared with, the last few of them left out
GROWN, GROWN_MUCH = 3.0, 6.0  # over the median of the earlier swings
SMALL = 0.03  # log loss: swings below are no matter


class Swings(Detector):
    """Noise of 3x its earlier median is a warning, 6x critical: the run is breaking up without a trend.

    Such a run hides its spikes: they are measured in its own noise. Seen for two looks of 32 points. Healthy runs stay
    below 2.9x (once, at small swings), most below 2x.
    """

    __slots__ = ("earlier", "last", "n", "recent")

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__(loss_divergence=2)
        self.recent: deque[float] = deque(maxlen=WINDOW)
        self.earlier: deque[float] = deque(maxlen=LOOKS)  # swings at the last looks
        self.last = 0.0
        self.n = 0

    def update(self, steps: Sequence[Step], scores: Scores) -> list[Found]:
        found: list[Found] = []
        recent = self.recent
        for at, y in zip(scores.at, scores.y, strict=True):
            recent.append(y)
            self.n += 1
            if self.n % EVERY or len(recent) < WINDOW:
                continue
            level, now, usual = self._look()
            if self.conditions["loss_divergence"].rises(level):
                message = f"loss swings by ±{now:.1%} at step {steps[at].step}, {now / usual:.1f}x its earlier noise"
                found.append((at, event(steps[at], "loss_divergence", level, message, value=now, expected=usual)))
        return found

    def _look(self) -> tuple[int, float, float]:
        """Level, swings now, swings before."""
        y = list(self.recent)
        bends = sorted(b - a for a, b in zip(y, y[LAG:], strict=False))
        now = (bends[3 * len(bends) // 4] - bends[len(bends) // 4]) / IQR
        held, self.last = min(now, self.last), now
        self.earlier.append(now)
        before = sorted(list(self.earlier)[:-RECENT])
        if len(before) < 6 or held < SMALL:
            return 0, now, now
        usual = max(median(before), 1e-3)
        return (3 if held > GROWN_MUCH * usual else 2 if held > GROWN * usual else 0), held, usual

    def resumed(self) -> None:
        self.recent.clear()
