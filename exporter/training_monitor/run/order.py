"""Tells what a step line is: the next step, a repeat, a resume or a new run.

Logs repeat steps (several ranks, two writers, a second line for the same step), go back (a resume from a checkpoint)
and start again (several runs in one file). Repeats must not count, a resume keeps the baselines, a new run does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from itertools import compress, count
from operator import le

from training_monitor.state import Stateful


class Order(Enum):
    """What a step is, seen from the ones before it."""

    NEXT = "next"
    REPEAT = "repeat"  # already told: another rank or writer, or a second line of the same step
    RESUMED = "resumed"  # a process went on from an earlier or the same point
    NEW_RUN = "new run"


class StepOrder(Stateful):
    """Remembers where a run is.

    Lossy cases: a run that falls back by one logged step without any header line looks like several
    ranks, and these steps are taken as repeats; one that starts again at its first step is a new run, one that starts
    at a later step is a resume.
    """

    __slots__ = ("first", "last", "recent", "seen", "started", "stride")
    RECENT = 2  # logged steps among which one rank may lag behind another
    SPANS = 256  # most spans of distinct steps that are remembered

    def __init__(self) -> None:
        self.first: int | None = None
        self.last: int | None = None
        self.stride = 0  # smallest distance of two logged steps, 0: not known yet
        self.started = False  # a new process began since the last step
        self.recent: list[int] = []
        self.seen: list[list[int]] = []  # spans [first, last, stride, count] of distinct steps

    @property
    def steps_seen(self) -> int:
        """Distinct steps."""
        return sum(span[3] for span in self.seen)

    def leading(self, steps: Sequence[int], start: int) -> int:
        """End of the stretch of `steps` from `start` on in which each step simply follows the one before it."""
        if self.last is None or self.started:
            return start
        before = (self.last, *steps[start:])
        return start + next(compress(count(), map(le, steps[start:], before)), len(steps) - start)

    def judge(self, step: int) -> Order:
        """What `step` is. Changes nothing: `advance` does."""
        if self.last is None:
            return Order.NEXT
        back = step <= self.last
        if back and not self.started and step in self.recent:
            return Order.REPEAT
        if back and self.first is not None and step <= self.first and step <= max(1, self.stride):
            return Order.NEW_RUN
        return Order.RESUMED if back or self.started else Order.NEXT

    def advance(self, steps: Sequence[int]) -> None:
        """Moves on over rising steps that have been judged and taken."""
        if not self._advance_evenly(steps):
            for step in steps:
                self._take(step)
        self.recent = [*self.recent, *steps[-self.RECENT :]][-self.RECENT :]
        self.started = False

    def _advance_evenly(self, steps: Sequence[int]) -> bool:
        """Takes a whole batch at once where every step follows the one before it by 1, as in most logs."""
        if self.last is None or len(self.seen) != 1 or self.stride != 1:
            return False
        span, newest = self.seen[0], steps[-1]
        if span[2] != 1 or span[1] != self.last or newest - self.last != len(steps):
            return False
        span[1], span[3], self.last = newest, span[3] + len(steps), newest
        return True

    def _take(self, step: int) -> None:
        if self.last is None:
            self.first = step
        elif step > self.last:
            gap = step - self.last
            self.stride = min(self.stride, gap) if self.stride else gap
        self._count(step)
        self.last = step

    def _count(self, step: int) -> None:
        """Adds `step` to the distinct ones, as the continuation of the last span where it is one."""
        spans = self.seen
        if spans and self._known(step, spans):
            return
        if spans and spans[-1][1] == self.last:
            span, gap = spans[-1], step - spans[-1][1]
            if gap > 0 and (gap == span[2] or span[3] == 1):
                span[1], span[2], span[3] = step, gap, span[3] + 1
                return
        spans.append([step, step, 1, 1])
        if len(spans) > self.SPANS:
            a, b = spans[0], spans[1]
            spans[:2] = [[min(a[0], b[0]), max(a[1], b[1]), 0, a[3] + b[3]]]

    @staticmethod
    def _known(step: int, spans: Sequence[Sequence[int]]) -> bool:
        return any(a <= step <= b and (not stride or (step - a) % stride == 0) for a, b, stride, _ in spans)
