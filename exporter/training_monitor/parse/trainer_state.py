"""HF Trainer's `trainer_state.json`: the whole history of a run, written anew with every checkpoint.

    {… "log_history": [{"epoch": 0.01, "grad_norm": NaN, "learning_rate": 2.5e-06, "loss": 0.0, "step": 58}, …],
     "logging_steps": 1, "max_steps": 60, …}

Source: transformers 4.38 to 5.23, trainer_callback.py. NaN stands bare, no JSON. With `logging_nan_inf_filter`,
the default, a NaN loss is written as 0.0; a gradient norm that is NaN beside it tells (`Step.raw_loss` is NaN then).
The file is read as a stream, entry by entry, so that a half written one gives what is in it.
"""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

from training_monitor.parse.base import Counts
from training_monitor.parse.rewritten import SeenRows
from training_monitor.parse.rows import RowReader
from training_monitor.records import Facts, Record, Start

FLUSH_S = 3600.0  # as late as the next checkpoint; how often those come is the user's choice
MAX_ENTRY = 65_536  # bytes
KEEP = 256  # bytes between which a name and its value cannot be cut

_LIST = re.compile(rb'"log_history"\s*:\s*\[')
_ENTRY = re.compile(rb"\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")
_BLANK = re.compile(rb"[\s,]*")
_NUMBER = re.compile(rb'"(max_steps|logging_steps)"\s*:\s*(\d{1,15})\s*[,}]')


class TrainerStateDecoder:
    """Decodes one trainer_state.json."""

    name: ClassVar[str] = "trainer-state"
    title: ClassVar[str] = "HF Trainer, trainer_state.json"
    example: ClassVar[str] = '{"epoch": 0.01, "grad_norm": 0.6776, "learning_rate": 5e-05, "loss": 4.7149, "step": 1}'
    versions: ClassVar[str] = "transformers 4.38 to 5.23"
    reads: ClassVar[str] = (
        "log_history (step, loss, gradient norm, learning rate, evaluations), max_steps, logging_steps"
    )
    smoothed: ClassVar[str] = "loss is the mean over logging_steps"
    limits: ClassVar[str] = "written at checkpoints only: good for what was, not for what is"
    rewrites: ClassVar[bool] = True  # a replaced file is the same one, written anew

    def __init__(self) -> None:
        self.counts = Counts()
        self._rows = RowReader()
        self._seen = SeenRows()
        self._rest = b""
        self._where = "head"  # then "list", "tail", or "lost": passed over until the file is written anew
        self._told: dict[str, int] = {}  # numbers that have been told

    @property
    def format(self) -> str | None:
        return self.name if self._told or self.counts.lines else None

    def feed(self, data: bytes) -> list[Record]:
        out: list[Record] = []
        data = self._rest + data
        at = 0
        if self._where == "head":
            at = self._numbers(data, self._end_of_head(data), out)
        if self._where == "list":
            at = self._entries(data, at, out)
        if self._where == "tail":
            at = self._numbers(data, len(data), out, at)
        self._rest = b"" if self._where == "lost" else data[at:]
        return out

    def end(self) -> list[Record]:
        """Nothing: an entry that was cut off is no entry."""
        return []

    def replaced(self) -> None:
        """The file is written anew: what comes next is its first byte."""
        self._rest, self._where = b"", "head"
        self._seen.rewind()

    def state(self) -> dict[str, Any]:
        return {
            "rest": self._rest.decode("latin-1"),
            "where": self._where,
            "told": dict(self._told),
            "rows": self._rows.state(),
            "seen": self._seen.state(),
            "counts": [self.counts.lines, self.counts.parsed, dict(self.counts.errors)],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError if `state` is of another version."""
        self._rest, self._where = state["rest"].encode("latin-1"), state["where"]
        self._told = dict(state["told"])
        self._rows.restore(state["rows"])
        self._seen.restore(state["seen"])
        self.counts.lines, self.counts.parsed, errors = state["counts"]
        self.counts.errors.clear()
        self.counts.errors.update(errors)

    def _end_of_head(self, data: bytes) -> int:
        match = _LIST.search(data)
        if match is None:
            return len(data)
        self._where = "list"
        return match.end()

    def _numbers(self, data: bytes, end: int, out: list[Record], at: int = 0) -> int:
        """Tells what stands beside the list; returns how far it has been read."""
        for match in _NUMBER.finditer(data, at, end):
            at = match.end() - 1
            self._fact(match[1].decode(), int(match[2]), out)
        return end if self._where == "list" else max(at, end - KEEP)

    def _fact(self, name: str, value: int, out: list[Record]) -> None:
        if value <= 0 or self._told.get(name) == value:
            return
        self._told[name] = value
        if name == "max_steps":
            out.append(Facts(format=self.name, total_steps=value, flush_s=FLUSH_S))
        else:
            kind = "raw" if value == 1 else f"mean of {value} steps"
            out.append(Facts(format=self.name, loss_kind=kind, flush_s=FLUSH_S))

    def _entries(self, data: bytes, at: int, out: list[Record]) -> int:
        """Reads entries of the list from `at` on; returns where the first incomplete one begins."""
        while True:
            blank = _BLANK.match(data, at)
            at = blank.end() if blank else at
            if data[at : at + 1] == b"]":
                self._where = "tail"
                return at
            entry = _ENTRY.match(data, at)
            if entry is None:
                if len(data) - at > MAX_ENTRY or data[at : at + 1] not in (b"", b"{"):
                    self.counts.error("bad_entry")
                    self._where = "lost"
                return at
            at = entry.end()
            self._entry(entry[0], out)

    def _entry(self, text: bytes, out: list[Record]) -> None:
        self.counts.lines += 1
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            self.counts.error("bad_entry")
            return
        known = self._seen.count
        if self._seen.is_new(b"".join(text.split())):
            if self._seen.at <= known:
                out.append(Start())  # the history takes another turn: resumed from an earlier checkpoint
            self.counts.parsed += self._rows.row(row, out, self._seen.at)
