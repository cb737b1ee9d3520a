"""Trainers that write a step as a block: a header line with the step, then one line for each value.

The end of a block is known when the next header comes, so each step is given one block late.
"""

from __future__ import annotations

from collections.abc import Sequence

from training_monitor.parse.format import Format, Match
from training_monitor.parse.rows import RowReader, plan_of
from training_monitor.records import Record

MAX_VALUES = 500  # of one block


class BlockFormat(Format):
    """Collects the values of a block and reads them by their names as a row."""

    __slots__ = ("block", "line", "reader", "time")

    def __init__(self) -> None:
        super().__init__()
        self.reader = RowReader()
        self.block: dict[str, float] = {}  # values by name; empty: no block is open
        self.line = 0
        self.time: float | None = None

    def open(self, values: dict[str, float], line: int, time: float | None) -> Sequence[Record]:
        """Ends the block before and begins one that already has `values`."""
        records = self.close()
        self.block, self.line, self.time = values, line, time
        return records

    def add(self, name: bytes, value: float) -> Sequence[Record] | None:
        """Takes one value of the open block; None if no block is open."""
        if not self.block:
            return None
        if len(self.block) < MAX_VALUES:
            self.block[name.decode("utf-8", "replace")] = value
        return ()

    def close(self) -> Sequence[Record]:
        out: list[Record] = []
        if self.block:
            self.reader.take(plan_of(tuple(self.block)), list(self.block.values()), out, self.line, self.time)
            self.block = {}
        return out

    def end(self) -> Sequence[Record]:
        return self.close()

    def _finish(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        return self.close()
