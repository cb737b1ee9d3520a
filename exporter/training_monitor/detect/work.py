"""Tells a bigger step from a slower one."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from operator import mul

from training_monitor.detect.windows import median
from training_monitor.records import Facts
from training_monitor.state import Stateful

LEARNED = 20  # points that tell the work of a step
EXACT = 0.01  # spread of the work over its median: above it the rate is smoothed, and says nothing about one step
CHANGED = 0.02  # relative change that is another batch size or sequence length …
HELD = 5  # … when so many points agree


class Work(Stateful):
    """Work of a step (tokens, or anything proportional to it): step time times rate, where the log has both.

    A larger batch makes a step longer at the same rate. Rates that a trainer averages are found out and left alone.
    """

    __slots__ = ("changed", "first", "is_exact", "work")

    def __init__(self) -> None:
        self.first: list[float] = []
        self.work = 0.0
        self.is_exact = True
        self.changed: deque[float] = deque(maxlen=HELD)

    def is_usual(self, seconds: Sequence[float], rates: Sequence[float | None]) -> bool:
        """Whether all these points do the work that a step always did, or do not tell; then none needs a `push`."""
        if not self.is_exact or rates.count(None) == len(rates):
            return True
        if not self.work or self.changed or None in rates:
            return False
        work: list[float] = list(map(mul, seconds, rates))
        return max(work) < self.work * (1 + CHANGED) and min(work) > self.work * (1 - CHANGED)

    def push(self, seconds: float, rate: float) -> float:
        """The factor by which the work has just changed for good; 1 if it has not, 0 while that is open."""
        if not self.is_exact:
            return 1.0
        now = seconds * rate
        if not self.work:
            self._learn(now)
            return 1.0
        if self.work * (1 - CHANGED) < now < self.work * (1 + CHANGED):
            if self.changed:
                self.changed.clear()
            return 1.0
        self.changed.append(now)
        agreed = sorted(self.changed)
        if len(agreed) == HELD and agreed[-1] - agreed[0] < EXACT * agreed[0]:
            factor, self.work = median(agreed) / self.work, median(agreed)
            self.changed.clear()
            return factor
        return 0.0 if agreed[-1] - agreed[0] < EXACT * agreed[0] else 1.0

    def _learn(self, now: float) -> None:
        self.first.append(now)
        if len(self.first) == LEARNED:
            ordered = sorted(self.first)
            self.is_exact = ordered[-2] - ordered[1] < EXACT * median(ordered)
            self.work = median(ordered)
            self.first = []


class Hardware(Stateful):
    """What a run computes on, as far as its header says."""

    __slots__ = ("gpu", "sequence_length", "tokens_per_step", "world_size")

    def __init__(self) -> None:
        self.gpu: str | None = None
        self.world_size: int | None = None
        self.tokens_per_step: float | None = None
        self.sequence_length: int | None = None

    def changes(self, facts: Facts) -> bool:
        """Takes the facts; whether they contradict the earlier ones."""
        changed = False
        for name in self.__slots__:
            before, now = getattr(self, name), getattr(facts, name)
            if now is not None:
                changed |= before is not None and before != now
                setattr(self, name, now)
        return changed
