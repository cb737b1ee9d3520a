"""Finds a loss that climbs away from its own best."""

from __future__ import annotations

import math
from collections.abc import Sequence

from training_monitor.detect.base import Detector, Found, Scores, event
from training_monitor.detect.thresholds import Thresholds
from training_monitor.records import Step


class Divergence(Detector):
    """The smoothed loss has risen above its own best by more than the noise allows (warning), by 10 % (critical)."""

    __slots__ = ("best_fast", "best_slow", "cusum", "fast", "n", "slow")

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__(loss_divergence=20)
        self.n = 0
        self.fast = self.slow = self.cusum = 0.0  # moving averages over 50 and 200 points
        self.best_fast = self.best_slow = math.inf

    def update(self, steps: Sequence[Step], scores: Scores) -> list[Found]:
        found: list[Found] = []
        condition = self.conditions["loss_divergence"]
        for at, y, base, sigma, z in zip(*scores, strict=True):
            level = self._level(y, base, sigma, z)
            if condition.rises(level):
                now, best = math.exp(self.fast), math.exp(self.best_fast)
                message = (
                    f"smoothed loss {now:.4g} at step {steps[at].step} is "
                    f"{now / best - 1:.1%} above its best {best:.4g}"
                )
                found.append((at, event(steps[at], "loss_divergence", level, message, value=now, expected=best)))
        return found

    def _level(self, y: float, base: float, sigma: float, z: float) -> int:
        self.n += 1
        if self.n <= 40:
            self.fast = self.slow = y
            return 0
        self.cusum = min(max(0.0, self.cusum + min(z, 4.0) - 1.5), 21.0)
        y = y if z < 4 or self.cusum > 7 else base + 4 * sigma
        self.fast += (y - self.fast) / 50
        self.slow += (y - self.slow) / 200
        if self.n <= 150:
            return 0
        self.best_fast = min(self.best_fast, self.fast)
        rise, level = self.fast - self.best_fast, 0
        if rise > max(1.2 * sigma, 0.004):
            level = 3 if rise > 0.10 else 2
        if self.n > 500:
            self.best_slow = min(self.best_slow, self.slow)
            if self.slow - self.best_slow > max(0.5 * sigma, 0.003):
                level = max(level, 2)
        return level

    def resumed(self) -> None:
        self.best_fast = self.best_slow = math.inf
        self.n = min(self.n, 41)
