"""The recent level and noise of the loss: what the loss detectors compare with."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from training_monitor.detect.base import Scores, own_loss
from training_monitor.detect.windows import median
from training_monitor.records import Step
from training_monitor.state import Stateful

WARM_UP = 40  # points before z is given
LAG = 200  # points from which the lag behind a falling trend is fully trusted
FIRST = 2  # points before a level is given
IQR = 1.349 * math.sqrt(2)  # quartile range of the difference of two Gaussian values, in standard deviations
SIGMA_FLOOR = 1e-3  # a loss printed with few digits may look free of noise
SUSPICIOUS = 4.0  # z above which a point does not teach the level …
PATIENCE = 200  # … for at most so many points: then the loss is taken to live there now
ALLOWANCE = math.log(1.1)  # after a restart at an older step the loss may be that much higher


class LossLevel(Stateful):
    """Scores each loss against the median of the last 32 unsuspicious ones, in log loss.

    The median is corrected for its lag on a falling trend. The noise is the quartile range of differences over five
    points, which no trend inflates. Losses at or below zero are not scored. After a restart or a gap the level is
    learned anew from eight points, the noise stays.
    """

    __slots__ = (
        "base", "diffs", "lag", "last5", "memory", "middle", "n", "previous", "same_sign", "sigma", "suspicious",
    )  # fmt: skip

    def __init__(self) -> None:
        self.base: deque[float] = deque(maxlen=32)
        self.diffs: deque[float] = deque(maxlen=192)
        self.last5: deque[float] = deque(maxlen=5)
        self.middle = 0.0  # median of `base`, as of the last few points
        self.lag = 0.0  # usual distance of a point from `middle`: below zero on a falling trend
        self.sigma = 0.0
        self.n = 0
        self.suspicious = 0
        self.previous = 0.0  # z of the last point
        self.same_sign = 0.0  # mean of the sign of z times the sign of the z before
        self.memory = 1.0  # how much longer than white noise the noise lasts: standard error of a mean, over white

    def update(self, steps: Sequence[Step]) -> Scores:
        scores = Scores([], [], [], [], [], [])
        for i, step in enumerate(steps):
            loss = own_loss(step)
            if loss is None or not 0 < loss < math.inf:
                continue
            y = math.log(loss)
            self.n += 1
            if self.n <= WARM_UP:
                level, sigma, z = self._warm_up(y)
            else:
                level, sigma, z = self._score(y)
            scores.at.append(i)
            scores.y.append(y)
            scores.level.append(level)
            scores.sigma.append(sigma)
            scores.z.append(z)
            scores.memory.append(self.memory)
        return scores

    def _warm_up(self, y: float) -> tuple[float, float, float]:
        level = median(sorted(self.base)) if len(self.base) >= FIRST else y
        self._accept(y)
        self.middle = median(sorted(self.base))
        if self.n == WARM_UP:
            self._measure_noise()
        return level, math.inf, 0.0

    def _score(self, y: float) -> tuple[float, float, float]:
        n = self.n
        sigma = self.sigma
        if n < 200:
            sigma *= 1 + (200 - n) * 0.01
        if len(self.base) < 8:  # after a restart or a gap
            level = self.middle + ALLOWANCE
            z = max(0.0, (y - level) / sigma)
        else:
            level = self.middle + (self.lag if n >= LAG else self.lag * n / LAG)
            z = (y - level) / sigma
        self.same_sign += ((1.0 if z * self.previous > 0 else -1.0) - self.same_sign) * 0.002
        self.previous = z
        if z <= SUSPICIOUS:
            if self.suspicious:
                self.suspicious -= 1
            self._accept(y)
            self._follow(y, sigma)
        else:
            self.suspicious += 1
            if self.suspicious >= PATIENCE:
                self._accept(y)
            elif self.suspicious < 3 and len(self.base) >= 8:
                self._accept(self.middle + 2 * sigma)
        if n % 32 == 0 or (n < 200 and n % 8 == 0):
            self._measure_noise()
        return level, sigma, z

    def _follow(self, y: float, sigma: float) -> None:
        """Moves the level and its lag."""
        if self.n % 4 == 0 or len(self.base) <= 8:
            self.middle = median(sorted(self.base))
        residual = y - self.middle
        self.lag = min(0.0, self.lag + (max(-3 * sigma, min(3 * sigma, residual)) - self.lag) / 24)

    def _accept(self, y: float) -> None:
        if len(self.last5) == 5:
            self.diffs.append(y - self.last5[0])
        self.last5.append(y)
        self.base.append(y)

    def _measure_noise(self) -> None:
        q = sorted(self.diffs)
        sigma = max((q[3 * len(q) // 4] - q[len(q) // 4]) / IQR, SIGMA_FLOOR)
        self.sigma += (sigma - self.sigma) * min(1.0, max(0.2, 1.2 - self.n / 1000))
        r = min(max(0.0, math.sin(math.pi / 2 * self.same_sign) - 0.1), 0.95)  # correlation of neighbours
        self.memory = math.sqrt((1 + r) / (1 - r))

    def restart(self) -> None:
        """The run goes on elsewhere: the level is learned anew, the noise stays."""
        self.base.clear()
        self.last5.clear()
        self.lag = 0.0

    def baseline(self) -> float | None:
        """The level as a loss, nats per token."""
        return math.exp(self.middle) if self.n > WARM_UP else None
