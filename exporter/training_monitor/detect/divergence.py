"""Finds a loss that climbs away from where its own trend led."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from training_monitor.detect.base import Detector, Found, Scores, event
from training_monitor.detect.thresholds import Thresholds
from training_monitor.detect.windows import roughness
from training_monitor.records import Step

BLOCK = 10  # points averaged
CLIP = 2.5  # z beyond which a point counts as that
ERRORS = 5.5  # standard errors that make a rise certain
RISE = 0.02  # log rise that is worth a warning
FLAT = ((5, 15), (10, 30), (20, 60))  # blocks now, blocks before
NOW, BEFORE = 10, 30  # blocks of the trend test
ROUGH = (1, 2)  # blocks: scales at which the noise is compared with white noise
CRITICAL = math.log(1.1)


class Divergence(Detector):
    """The mean of recent points lies above that of the points before, or above where their trend led, beyond all noise.

    Blocks of 10 points, single outliers clipped. Three spans of 200 to 800 points find rises of any speed; the trend
    over 300 points finds a rise that a falling loss hides. Warning from 2 % and 6 standard errors, critical from 10 %.
    """

    __slots__ = ("blocks", "lr", "lr_max", "n", "points", "sigma", "suspended", "total")

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__(loss_divergence=3)
        self.blocks: deque[float] = deque(maxlen=80)
        self.n = 0  # blocks so far
        self.points = 0
        self.total = 0.0
        self.sigma = 0.0
        self.suspended = 0  # blocks until the learning rate is calm again
        self.lr = self.lr_max = 0.0

    def update(self, steps: Sequence[Step], scores: Scores) -> list[Found]:
        found: list[Found] = []
        for at, y, base, sigma, z, memory in zip(*scores, strict=True):
            self.total += y if -CLIP < z < CLIP else base + math.copysign(CLIP * sigma, z)
            self.points += 1
            if self.points < BLOCK:
                continue
            self.sigma = sigma * memory / math.sqrt(BLOCK)
            self.blocks.append(self.total / BLOCK)
            self.n += 1
            self.points, self.total = 0, 0.0
            self._follow(steps[at])
            if self.sigma < math.inf:
                level, now, before = self._judge()
                if self.conditions["loss_divergence"].level:
                    self.suspended = NOW + BEFORE  # what comes back down is no trend
                if self.conditions["loss_divergence"].rises(level):
                    now, before = math.exp(now), math.exp(before)
                    message = (
                        f"loss {now:.4g} at step {steps[at].step} is {now / before - 1:.1%} above "
                        f"where its trend led ({before:.4g})"
                    )
                    found.append((at, event(steps[at], "loss_divergence", level, message, value=now, expected=before)))
        return found

    def _follow(self, step: Step) -> None:
        lr = step.learning_rate if step.learning_rate is not None else step.lr_multiplier
        if self.suspended:
            self.suspended -= 1
        if lr is None:
            return
        if self.lr and (lr < 0.85 * self.lr or (lr > 1.1 * self.lr and self.lr < 0.7 * self.lr_max)):
            self.suspended = NOW + BEFORE
        self.lr, self.lr_max = lr, max(lr, self.lr_max)

    def _judge(self) -> tuple[int, float, float]:
        """Level, log loss now, log loss expected."""
        b = list(self.blocks)
        for now, before in FLAT:
            if len(b) < now + before:
                break
            recent, old = sum(b[-now:]) / now, sum(b[-now - before : -now]) / before
            if self._is_certain(b, recent - old, math.sqrt(1 / now + 1 / before)):
                return self._level(b), recent, old
        if len(b) >= NOW + BEFORE and (not self.suspended or self.conditions["loss_divergence"].level):
            return self._trend(b)
        return 0, 0.0, 0.0

    def _trend(self, b: list[float]) -> tuple[int, float, float]:
        start = self.n - NOW - BEFORE
        x = [math.log(i + 0.5) for i in range(start, self.n)]
        slope, middle, spread = _fit(x[:BEFORE], b[-NOW - BEFORE : -NOW])
        slope = min(slope, 0.0)
        slope_now, recent, _ = _fit(x[BEFORE:], b[-NOW:])
        if slope_now < (0.2 * slope if self.n > 65 else 0.0):
            return 0, 0.0, 0.0
        ahead = sum(x[BEFORE:]) / NOW - sum(x[:BEFORE]) / BEFORE
        expected = middle + slope * ahead
        if self._is_certain(b, recent - expected, math.sqrt(1 / NOW + 1 / BEFORE + ahead * ahead / spread)):
            return self._level(b), recent, expected
        return 0, 0.0, 0.0

    def _is_certain(self, b: list[float], rise: float, error: float) -> bool:
        """Whether a rise is large and beyond chance; `error`: its standard error, in noise of a block."""
        error *= ERRORS * self.sigma
        return rise > max(RISE, error) and rise > error * roughness(b, self.sigma, ROUGH)

    def _level(self, b: list[float]) -> int:
        best = min(sum(b[i : i + 5]) for i in range(len(b) - 4)) / 5
        return 3 if sum(b[-5:]) / 5 - best > CRITICAL else 2

    def resumed(self) -> None:
        self.blocks.clear()
        self.points, self.total = 0, 0.0


def _fit(x: list[float], y: list[float]) -> tuple[float, float, float]:
    """Slope of the regression line, mean of y, spread of x."""
    n = len(x)
    sx, sy = sum(x), sum(y)
    spread = sum(v * v for v in x) - sx * sx / n
    return (sum(u * v for u, v in zip(x, y, strict=True)) - sx * sy / n) / spread, sy / n, spread
