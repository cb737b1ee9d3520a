"""The curve of a run over its steps, in at most 200 points whatever its length."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TypeAlias

from training_monitor.estimate.columns import mean, middle
from training_monitor.records import CurvePoint, Steps
from training_monitor.state import Stateful

#: [last step, lines, mean step, loss, learning rate, MFU, step time] of one stretch of the run.
Row: TypeAlias = list[float | None]
LAST, LINES, CENTER, LOSS, LEARNING_RATE, MFU, STEP_TIME = range(7)


class Curve(Stateful):
    """Averages of equal stretches of steps; a stretch is a power of two long and doubles when there are too many.

    A stretch ends at a multiple of its length, so its points stay where they are while the run goes on, and two runs
    have their points at the same steps. State: about 200 rows of 7 numbers and up to 64 buffered lines, 15 kB as JSON.
    """

    __slots__ = ("loss", "lr", "mfu", "open", "rows", "step", "step_time", "stride")
    CAPACITY = 200  # rows; between half of it and all of it are used
    FOLD = 64  # lines that are averaged at a time

    def __init__(self) -> None:
        self.stride = 1
        self.rows: list[Row] = []
        self.open: Row = []  # the unfinished stretch, as far as it is averaged
        self.step: list[int] = []  # buffered lines of the unfinished stretch
        self.loss: list[float | None] = []
        self.lr: list[float | None] = []
        self.mfu: list[float | None] = []
        self.step_time: list[float | None] = []

    def update(self, steps: Steps) -> None:
        """Adds lines with rising steps."""
        step, loss, lr, mfu, step_time = steps.step, steps.loss, steps.rates, steps.mfu_ratio, steps.step_time_s
        i, n = 0, len(step)
        while i < n:
            index = step[i] // self.stride
            if self._last is not None and self._last // self.stride != index:
                self._close()
                continue  # the stride may have changed
            end = (index + 1) * self.stride
            j = max(i + 1, min(bisect_left(step, end, i), i + self.FOLD - len(self.step)))
            self.step += step[i:j]
            self.loss += loss[i:j]
            self.lr += lr[i:j]
            self.mfu += mfu[i:j]
            self.step_time += step_time[i:j]
            if len(self.step) >= self.FOLD:
                self._fold()
            if step[j - 1] == end - 1:
                self._close()
            i = j

    def rewind(self, step: int) -> None:
        """Forgets `step` and what came after it: the run goes on from there."""
        last = self._last
        if last is not None and last >= step:
            self._clear()
            self.open = []
        while self.rows and (self.rows[-1][LAST] or 0) >= step:
            self.rows.pop()

    def points(self, *, tail: bool = False) -> tuple[CurvePoint, ...]:
        """The finished stretches, each at its last step; with `tail` the unfinished one as well."""
        return tuple(CurvePoint(int(r[LAST] or 0), r[LOSS], r[STEP_TIME], r[MFU]) for r in self.all_rows(tail=tail))

    def all_rows(self, *, tail: bool = True) -> list[Row]:
        """The rows, oldest first, with the unfinished one where `tail` is set; not to be changed."""
        if not tail or self._last is None:
            return self.rows
        return [*self.rows, self._merged(self.open, self._folded()) if self.step else self.open]

    @property
    def _last(self) -> int | None:
        """The latest step of the unfinished stretch."""
        if self.step:
            return self.step[-1]
        return int(self.open[LAST] or 0) if self.open else None

    def _folded(self) -> Row:
        n = len(self.step)
        return [
            self.step[-1],
            n,
            math.fsum(self.step) / n,
            middle(self.loss),
            mean(self.lr),
            middle(self.mfu),
            middle(self.step_time),
        ]

    def _fold(self) -> None:
        self.open = self._merged(self.open, self._folded())
        self._clear()

    def _clear(self) -> None:
        for buffer in (self.step, self.loss, self.lr, self.mfu, self.step_time):
            buffer.clear()

    def _close(self) -> None:
        """Ends the unfinished stretch."""
        if self.step:
            self._fold()
        self.rows.append(self.open)
        self.open = []
        while len(self.rows) > self.CAPACITY:
            self._coarsen()

    def _coarsen(self) -> None:
        """Doubles the stretches; one that is not complete any more is the unfinished one again."""
        self.stride *= 2
        rows: list[Row] = []
        for row in self.rows:
            if rows and int(rows[-1][LAST] or 0) // self.stride == int(row[LAST] or 0) // self.stride:
                rows[-1] = self._merged(rows[-1], row)
            else:
                rows.append(row)
        if rows and (int(rows[-1][LAST] or 0) + 1) % self.stride and not self.open:
            self.open = rows.pop()
        self.rows = rows

    @staticmethod
    def _merged(a: Row, b: Row) -> Row:
        """One row for two, weighted by their lines."""
        if not a:
            return b
        n, m = a[LINES] or 0, b[LINES] or 0
        row: Row = [b[LAST], n + m]
        for x, y in zip(a[CENTER:], b[CENTER:], strict=True):
            row.append(y if x is None else x if y is None else (x * n + y * m) / (n + m))
        return row
