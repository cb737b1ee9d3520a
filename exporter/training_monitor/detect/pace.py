"""The level of a step time against an anchored baseline."""

from __future__ import annotations

from collections import deque

from training_monitor.detect.windows import SortedWindow
from training_monitor.state import Stateful

SKIPPED = 10  # first points after a start: compilation, caches


class Pace(Stateful):
    """Running medians of 9, 11 and 51 step times over an anchored baseline.

    The baseline is the median of the first points after the first 10, once their halves agree within 3 %; it follows an
    improvement and never a slowdown. One odd step, a pause or a two-step burst moves none of the medians.
    """

    __slots__ = ("base", "first", "n", "noise", "recent9", "recent11", "recent51", "skip")

    def __init__(self) -> None:
        self.recent9, self.recent11, self.recent51 = SortedWindow(9), SortedWindow(11), SortedWindow(51)
        self.noise = SortedWindow(200)
        self.first: deque[float] = deque(maxlen=100)
        self.n = 0
        self.skip = SKIPPED
        self.base: float | None = None

    def push(self, x: float) -> tuple[float, float, float, float] | None:
        """Takes a step time. Medians of 9, 11 and 51 over the baseline, and the noise of a step, once known."""
        if self.skip:
            self.skip -= 1
            return None
        self.n += 1
        for window in (self.recent9, self.recent11, self.recent51):
            window.push(x)
        if self.base is None:
            self._anchor(x)
            if self.base is None:
                return None
        if self.n % 25 == 0 and self.recent51.is_full() and self.recent51.median() < 0.995 * self.base:
            self.base = 0.7 * self.base + 0.3 * self.recent51.median()
        m9, m11, m51 = (w.median() / self.base for w in (self.recent9, self.recent11, self.recent51))
        self.noise.push(abs(x / self.base - m11))
        sigma = 1.4826 * self.noise.median() if len(self.noise.values) > 30 else 0.02
        return m9, m11, m51, sigma

    def _anchor(self, x: float) -> None:
        self.first.append(x)
        values = list(self.first)
        half = len(values) // 2
        if len(values) < 51:
            return
        early, late = sorted(values[:half])[half // 2], sorted(values[half:])[half // 2]
        if abs(early / late - 1) < 0.03 or self.n > 400:
            self.base = sorted(values)[half]
            self.first.clear()

    def resumed(self) -> None:
        """Forgets the recent points, not the baseline; the first steps of a process are skipped again."""
        self.skip = SKIPPED
        for window in (self.recent9, self.recent11, self.recent51):
            window.clear()

    def recent(self) -> float | None:
        """Median of the last 9 step times."""
        return self.recent9.median() if self.recent9.values else None
