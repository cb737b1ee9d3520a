"""Finds a loss that climbs away from where its own trend led."""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise

from training_monitor.detect.base import Detector, Found, Scores, event
from training_monitor.detect.loss_level import TEN
from training_monitor.detect.thresholds import Thresholds
from training_monitor.detect.windows import roughness
from training_monitor.records import Event, Step, Steps

ERRORS = 5.5  # standard errors that make a rise certain
RISE = 0.02  # log rise that is worth a warning
FLAT = ((5, 15), (10, 30), (20, 60))  # blocks of ten points now, blocks before
SPAN = 80  # blocks kept
NOW, BEFORE = 10, 30  # blocks of the trend test
YOUNG = 65  # blocks until which a falling loss must have stopped to fall …
SLOWED = 0.2  # … and part of its slope that a later one may keep
LATELY = 60  # blocks that tell how rough the noise is, and …
ROUGH = (1, 2, 5)  # blocks: scales at which the noise is compared with white noise
CRITICAL = math.log(1.1)


class Divergence(Detector):
    """The mean of recent points lies above that of the points before, or above where their trend led, beyond all noise.

    Blocks of ten points. Three spans of 200 to 800 points find rises of any speed; the trend over 300 points finds a
    rise that a falling loss hides. Warning from 2 % and 5.5 standard errors, critical from 10 %. A jump of the learning
    rate suspends the trend for 400 points, and so does a rise: what comes back down is no trend.

    Measured: 98 % of rises by 10 % in 300 points, after 110 to 135; no page in 432,000 healthy points. Slow while the
    loss falls steeply, in the first 500 points.
    """

    __slots__ = ("lr", "lr_max", "n", "sigma", "sums", "suspended")

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__(loss_divergence=3)
        self.sums: deque[float] = deque([0.0], maxlen=SPAN + 1)  # running sum of the means of the blocks
        self.n = 0  # blocks so far
        self.sigma = 0.0  # noise of a block
        self.suspended = 0  # blocks until the trend can be trusted
        self.lr = self.lr_max = 0.0

    def update(self, steps: Steps, scores: Scores) -> list[Found]:
        found: list[Found] = []
        condition = self.conditions["loss_divergence"]
        rates = steps.rates
        for at, mean, _, sigma in scores.tens:
            self.n += 1
            self.sums.append(self.sums[-1] + mean)
            self._follow_rate(rates[at])
            if sigma == math.inf:
                continue
            self.sigma = sigma / math.sqrt(TEN)
            level, now, before = self._judge(condition.level > 0)
            if condition.level:
                self.suspended = NOW + BEFORE
            if condition.rises(level):
                found.append((at, self._event(steps[at], level, math.exp(now), math.exp(before))))
        return found

    def _follow_rate(self, rate: float | None) -> None:
        if self.suspended:
            self.suspended -= 1
        if rate is None:
            return
        if rate < 0.85 * self.lr or (rate > 1.1 * self.lr and self.lr < 0.7 * self.lr_max):
            self.suspended = NOW + BEFORE
        self.lr, self.lr_max = rate, max(rate, self.lr_max)

    def _judge(self, is_open: bool) -> tuple[int, float, float]:
        """Level, log loss now, log loss expected."""
        sums = self.sums
        blocks = len(sums) - 1
        for now, before in FLAT:
            if blocks < now + before:
                break
            edge = sums[-1 - now]
            recent, old = (sums[-1] - edge) / now, (edge - sums[-1 - now - before]) / before
            if recent - old > RISE and self._is_certain(recent - old, math.sqrt(1 / now + 1 / before)):
                return self._level(), recent, old
        if blocks >= NOW + BEFORE and (is_open or not self.suspended):
            return self._trend()
        return 0, 0.0, 0.0

    def _trend(self) -> tuple[int, float, float]:
        sums = self.sums
        third = BEFORE // 3
        end, edge, start = sums[-1], sums[-1 - NOW], sums[-1 - NOW - BEFORE]
        fall = max(0.0, (sums[-1 - NOW - 2 * third] - start - edge + sums[-1 - NOW - third]) / third)
        if (end - edge) / NOW - (edge - start) / BEFORE + 2 * fall < RISE:
            return 0, 0.0, 0.0  # wherever the trend led, the loss is not far above: saves the fits
        b = self._means()
        x = [math.log(i + 0.5) for i in range(self.n - NOW - BEFORE, self.n)]
        slope, middle, spread = _fit(x[:BEFORE], b[-NOW - BEFORE : -NOW])
        slope = min(slope, 0.0)
        slope_now, recent, _ = _fit(x[BEFORE:], b[-NOW:])
        if slope_now < (SLOWED * slope if self.n > YOUNG else 0.0):
            return 0, 0.0, 0.0
        ahead = sum(x[BEFORE:]) / NOW - sum(x[:BEFORE]) / BEFORE
        expected = middle + slope * ahead
        if self._is_certain(recent - expected, math.sqrt(1 / NOW + 1 / BEFORE + ahead * ahead / spread)):
            return self._level(), recent, expected
        return 0, 0.0, 0.0

    def _is_certain(self, rise: float, error: float) -> bool:
        """Whether a rise is large and beyond chance; `error`: its standard error, in noise of a block."""
        error *= ERRORS * self.sigma
        return rise > max(RISE, error) and rise > error * roughness(self._means()[-LATELY:], self.sigma, ROUGH)

    def _means(self) -> list[float]:
        sums = list(self.sums)
        return [b - a for a, b in pairwise(sums)]

    def _level(self) -> int:
        """Critical where the loss has really risen by so much, not only against its trend."""
        sums = list(self.sums)
        fives = [b - a for a, b in zip(sums, sums[5:], strict=False)]
        return 3 if (fives[-1] - min(fives)) / 5 > CRITICAL else 2

    def _event(self, step: Step, level: int, now: float, before: float) -> Event:
        message = (
            f"loss {now:.4g} at step {step.step} is {now / before - 1:.1%} above where its trend led ({before:.4g})"
        )
        return event(step, "loss_divergence", level, message, value=now, expected=before)

    def resumed(self) -> None:
        self.sums.clear()
        self.sums.append(0.0)


def _fit(x: list[float], y: list[float]) -> tuple[float, float, float]:
    """Slope of the regression line, mean of y, spread of x."""
    n = len(x)
    sx, sy = sum(x), sum(y)
    spread = sum(v * v for v in x) - sx * sx / n
    return (sum(u * v for u, v in zip(x, y, strict=True)) - sx * sy / n) / spread, sy / n, spread
