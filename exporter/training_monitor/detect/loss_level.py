"""The recent level and noise of the loss: what the loss detectors compare with."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from training_monitor.detect.base import Scores, own_loss
from training_monitor.detect.windows import SortedWindow
from training_monitor.records import Step
from training_monitor.state import Stateful

WARM_UP = 40  # points before anything is scored
IQR = 1.349  # quartile range of a Gaussian, in standard deviations
SIGMA_FLOOR = 1e-3  # a loss printed with few digits may look free of noise


class LossLevel(Stateful):
    """Scores each loss against the median of the last 32 unsuspicious ones, in log loss.

    The median is corrected for its lag on a falling trend. The noise is the quartile range of differences over five
    points, which no trend inflates. A suspicious point does not teach the level, for at most 200 points in a row:
    then the loss is taken to live there now. Losses at or below zero are not scored.
    """

    __slots__ = ("base", "bias", "diffs", "last5", "n", "suspicious")

    def __init__(self) -> None:
        self.base = SortedWindow(32)
        self.diffs = SortedWindow(192)
        self.bias = SortedWindow(24)
        self.last5: deque[float] = deque(maxlen=5)
        self.n = 0
        self.suspicious = 0

    def update(self, steps: Sequence[Step]) -> Scores:
        scores = Scores([], [], [], [], [])
        for i, step in enumerate(steps):
            loss = own_loss(step)
            if loss is not None and 0 < loss < math.inf:
                level, sigma, z = self._score(y := math.log(loss))
                scores.at.append(i)
                scores.y.append(y)
                scores.level.append(level)
                scores.sigma.append(sigma)
                scores.z.append(z)
        return scores

    def _score(self, y: float) -> tuple[float, float, float]:
        self.n += 1
        if self.n <= WARM_UP:
            self._accept(y, self.base.median() if len(self.base.values) > 8 else None)
            return y, 1.0, 0.0
        median, q = self.base.median(), self.diffs.ordered
        sigma = max((q[3 * len(q) // 4] - q[len(q) // 4]) / IQR / math.sqrt(2), SIGMA_FLOOR)
        if self.n < 200:
            sigma *= 1 + (200 - self.n) * 0.01
        level = median + min(self.bias.median(), 0.0) * min(self.n / 500, 1.0)
        z = max((y - level) / sigma, -50.0)
        self._learn(y, z, median, sigma)
        return level, sigma, z

    def _learn(self, y: float, z: float, median: float, sigma: float) -> None:
        if z <= 4:
            self.suspicious = max(0, self.suspicious - 1)
            self._accept(y, median)
            return
        self.suspicious += 1
        if self.suspicious >= 200:
            self._accept(y, median)
        elif self.suspicious < 3:
            self._accept(median + 2 * sigma, median)

    def _accept(self, y: float, median: float | None) -> None:
        if len(self.last5) == 5:
            self.diffs.push(y - self.last5[0])
        self.last5.append(y)
        self.base.push(y)
        if median is not None:
            self.bias.push(y - median)

    def resumed(self) -> None:
        pass

    def baseline(self) -> float | None:
        """The level as a loss, nats per token."""
        return math.exp(self.base.median()) if self.n > WARM_UP else None
