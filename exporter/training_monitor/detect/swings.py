"""Finds a loss whose swings have grown out of all proportion."""

from __future__ import annotations

from collections import deque
from operator import sub

from training_monitor.detect.base import Detector, Found, Scores, event
from training_monitor.detect.thresholds import Thresholds
from training_monitor.detect.windows import median
from training_monitor.records import Steps

EVERY = 32  # points between two looks
LAG = 5  # points between the two ends of a swing
SCALE = 1.4826 / 2**0.5  # standard deviation of a point over the median size of a swing
SMOOTH = 3  # looks whose median is the swings of now
LOOKS, RECENT, FEWEST = 40, 6, 8  # looks kept, the last ones of them not compared with, and the fewest to compare with
GROWN, GROWN_MUCH = 3.0, 6.0  # over the median of the earlier swings
SMALL = 0.03  # log loss: swings below are no matter


class Swings(Detector):
    """Noise of 3x its earlier median is a warning, 6x critical: the run is breaking up without a trend.

    Such a run hides its spikes: they are measured in its own noise. Healthy runs stay below 2.9x (once, at swings of
    1 %), most below 2x. Takes about 100 points to see it.
    """

    __slots__ = ("looks", "waiting")

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__(loss_divergence=3)
        self.waiting: list[float] = []  # log losses not looked at, the last LAG before them first
        self.looks: deque[float] = deque(maxlen=LOOKS)  # swings

    def update(self, steps: Steps, scores: Scores) -> list[Found]:
        waiting = self.waiting
        behind = len(waiting)
        waiting += scores.y
        if len(waiting) < LAG + EVERY:
            return []
        found: list[Found] = []
        start = 0
        while start + LAG + EVERY <= len(waiting):
            window = waiting[start : start + LAG + EVERY]
            start += EVERY
            level, now, usual = self._look(window)
            if self.conditions["loss_divergence"].rises(level):
                at = scores.at[start + LAG - 1 - behind]
                message = f"loss swings by ±{now:.1%} at step {steps.step[at]}, {now / usual:.1f}x its earlier noise"
                found.append((at, event(steps[at], "loss_divergence", level, message, value=now, expected=usual)))
        self.waiting = waiting[start:]
        return found

    def _look(self, y: list[float]) -> tuple[int, float, float]:
        """Level, swings now, swings before."""
        self.looks.append(SCALE * median(sorted(map(abs, map(sub, y[LAG:], y)))))
        looks = list(self.looks)
        now = median(sorted(looks[-SMOOTH:]))
        if now < SMALL or len(looks) < FEWEST + RECENT:
            return 0, now, now
        usual = max(median(sorted(looks[:-RECENT])), 1e-3)
        return (3 if now > GROWN_MUCH * usual else 2 if now > GROWN * usual else 0), now, usual

    def resumed(self) -> None:
        self.waiting = []
