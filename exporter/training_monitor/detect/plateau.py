"""Finds a loss that has stopped to improve."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from training_monitor.detect.base import Detector, Found, Scores, event
from training_monitor.detect.thresholds import Thresholds
from training_monitor.detect.windows import SortedWindow
from training_monitor.records import Step

BLOCK = 25  # points whose median is one observation
WINDOWS = (6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)  # blocks


class Plateau(Detector):
    """The slope of the log loss over log(point) falls short of the run's own earlier slope.

    For each window of the last 150 to 6400 points the reference is the stretch before it; a plateau is a slope below
    30 % of the reference by more than 4.5 standard errors.
    """

    __slots__ = ("best", "best_step", "block", "diffs", "last5", "step", "sums")

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__(plateau=8)
        self.block: list[float] = []
        self.diffs = SortedWindow(600)
        self.last5: deque[float] = deque(maxlen=5)
        self.sums: list[tuple[float, float, float, float]] = [(0.0, 0.0, 0.0, 0.0)]  # x, y, xx, xy over the blocks
        self.best = math.inf
        self.best_step: int | None = None
        self.step = 0

    def update(self, steps: Sequence[Step], scores: Scores) -> list[Found]:
        found: list[Found] = []
        for at, y in zip(scores.at, scores.y, strict=True):
            if len(self.last5) == 5:
                self.diffs.push(abs(y - self.last5[0]))
            self.last5.append(y)
            self.block.append(y)
            if len(self.block) == BLOCK and self.conditions["plateau"].rises(self._end_block(steps[at].step)):
                step = steps[at]
                message = f"loss has improved by less than its own trend promised at step {step.step}"
                found.append((at, event(step, "plateau", 2, message, value=math.exp(y))))
        self.step = steps[-1].step
        return found

    def levels(self) -> dict[str, float | None]:
        return {"steps_since_improvement": None if self.best_step is None else self.step - self.best_step}

    def _end_block(self, step: int) -> int:
        n, middle = len(self.sums) - 1, sorted(self.block)[BLOCK // 2]
        self.block = []
        if middle < self.best + math.log1p(-0.01):
            self.best, self.best_step = middle, step
        x, s = math.log((n + 0.5) * BLOCK), self.sums[-1]
        self.sums.append((s[0] + x, s[1] + middle, s[2] + x * x, s[3] + x * middle))
        return 2 if self._is_short(n + 1) else 0

    def _slope(self, a: int, b: int) -> tuple[float, float]:
        p, q, n = self.sums[a], self.sums[b], b - a
        x, y, xx, xy = (v - u for u, v in zip(p, q, strict=True))
        spread = xx - x * x / n
        return (xy - x * y / n) / spread, spread

    def _is_short(self, n: int) -> bool:
        if n < 14:
            return False
        sigma = 1.4826 * self.diffs.median() / math.sqrt(2) * 1.25 / math.sqrt(BLOCK) * 1.2
        for w in WINDOWS:
            edge = n - w
            if w > n // 2:
                return False
            start = max(4, int(0.3 * edge))
            if edge - start < 6:
                continue
            now, spread = self._slope(edge, n)
            recent, recent_spread = self._slope((edge + start) // 2, edge)
            reference = max(self._slope(start, edge)[0], recent)
            error = sigma * math.sqrt(1 / spread + 1 / recent_spread)
            if reference < 0 and now > 0.3 * reference and now - reference > 4.5 * error:
                return True
        return False
