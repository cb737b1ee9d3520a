"""CSV files with a header: Lightning's CSVLogger, Keras' CSVLogger, own loggers.

    epoch,lr,mfu,step,train/loss,val/loss
    0,0.0010000000474974513,0.4000000059604645,49,0.23771932721138,
    0,,,49,,0.27879419922828674

Lightning (2.6.6, loggers/csv_logs.py) leaves the cells of other metrics empty and, when a new one appears, rewrites the
file in place with a longer header. An empty cell says nothing; `nan` is a value. Several rows share a step.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Any, ClassVar

from training_monitor.parse.base import Counts
from training_monitor.parse.lines import Lines
from training_monitor.parse.rewritten import SeenRows
from training_monitor.parse.rows import Plan, RowReader, number, plan_of
from training_monitor.records import Facts, Record, Start

DELIMITERS = (",", "\t", ";")
MAX_COLUMNS = 1000


class CsvDecoder:
    """Decodes one file, whose first line is its header."""

    name: ClassVar[str] = "lightning-csv"
    title: ClassVar[str] = "Lightning CSVLogger and other CSV files with a header"
    example: ClassVar[str] = "epoch,lr,mfu,step,train/loss,val/loss"
    versions: ClassVar[str] = "Lightning 2.6; any file whose columns are in the alias table"
    reads: ClassVar[str] = "columns with a name of the alias table"
    smoothed: ClassVar[str] = "columns that end in _epoch are means and left out"
    limits: ClassVar[str] = "without a step column rows are counted"
    rewrites: ClassVar[bool] = True  # a replaced file is the same one, written anew

    def __init__(self) -> None:
        self.counts = Counts()
        self._lines = Lines(self.counts)
        self._rows = RowReader()
        self._seen = SeenRows()
        self._header: list[str] = []
        self._delimiter = ","
        self._plan: Plan | None = None
        self._is_first = True  # no header was there before in this file

    @property
    def format(self) -> str | None:
        return self.name if self._header else None

    def feed(self, data: bytes) -> list[Record]:
        out: list[Record] = []
        self._take(*self._lines.feed(data), out)
        return out

    def end(self) -> list[Record]:
        """The last row, if it is complete but for its line end."""
        out: list[Record] = []
        numbers, lines = self._lines.end()
        for n, line in zip(numbers, lines, strict=True):
            cells = self._cells(line)
            if self._plan and len(cells) == len(self._header):
                self.counts.parsed += self._rows.take(self._plan, cells, out, n)
            self.counts.lines += 1
        return out

    def replaced(self) -> None:
        """The file is written anew: what comes next is its first byte."""
        self._lines = Lines(self.counts)
        self._seen.rewind()
        self._header, self._plan = [], None

    def state(self) -> dict[str, Any]:
        return {
            "lines": self._lines.state(),
            "rows": self._rows.state(),
            "seen": self._seen.state(),
            "header": list(self._header),
            "plain": [self._delimiter, self._is_first],
            "counts": [self.counts.lines, self.counts.parsed, dict(self.counts.errors)],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError if `state` is of another version."""
        self._lines.restore(state["lines"])
        self._rows.restore(state["rows"])
        self._seen.restore(state["seen"])
        self._header = list(state["header"])
        self._plan = plan_of(tuple(self._header)) if self._header else None
        self._delimiter, self._is_first = state["plain"]
        self.counts.lines, self.counts.parsed, errors = state["counts"]
        self.counts.errors.clear()
        self.counts.errors.update(errors)

    def _take(self, numbers: Sequence[int], lines: Sequence[bytes], out: list[Record]) -> None:
        for n, line in zip(numbers, lines, strict=True):
            if not line or line.isspace():
                continue
            self.counts.lines += 1
            if self._plan is None or (line[:1].isalpha() and is_header(line)):
                self._begin(line, n, out)
                continue
            cells = self._cells(line)
            if len(cells) != len(self._header):
                self.counts.error("bad_row")
            elif self._seen.is_new(self._content(cells) if self._seen.compares else b""):
                self.counts.parsed += self._rows.take(self._plan, cells, out, n)

    def _begin(self, line: bytes, n: int, out: list[Record]) -> None:
        """A header: the first line, or that of a process that appends to the file."""
        if self._header:
            out.append(Start(line=n))
        text = line.decode("utf-8", "replace")
        self._delimiter = max(DELIMITERS, key=text.count)
        self._header = [cell or "" for cell in self._cells(line)[:MAX_COLUMNS]]
        self._plan = plan_of(tuple(self._header))
        if self._is_first:
            self._is_first = False
            out.append(Facts(format=self.name, flush_s=0.0))

    def _cells(self, line: bytes) -> list[str | None]:
        text = line.decode("utf-8", "replace")
        if '"' in text:
            return [cell or None for cell in next(csv.reader([text], delimiter=self._delimiter), [])]
        return [cell or None for cell in text.split(self._delimiter)]

    def _content(self, cells: Sequence[str | None]) -> bytes:
        """What stays the same when columns are added: the filled cells with their names."""
        filled = [(name, cell) for name, cell in zip(self._header, cells, strict=True) if cell]
        return "\n".join(f"{name}={cell}" for name, cell in sorted(filled)).encode()


def is_header(line: bytes) -> bool:
    """Whether a line can be the header of a file that is of use: names only, a known one among them.

    >>> is_header(b"epoch,step,train/loss"), is_header(b"0,49,7.62"), is_header(b"loss fell, step 4")
    (True, False, False)
    """
    text = line.decode("utf-8", "replace").strip()
    names = [name.strip('" ') for name in text.split(max(DELIMITERS, key=text.count))]
    if not 2 <= len(names) <= MAX_COLUMNS or any(not n or len(n) > 200 or "=" in n or ": " in n for n in names):
        return False
    return all(number(name) is None for name in names) and plan_of(tuple(names)).is_useful
