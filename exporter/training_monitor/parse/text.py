"""Text logs: bytes → lines → records of the format that wrote them, and of the errors that any launcher may report."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from training_monitor.parse.base import Counts
from training_monitor.parse.choice import Choice, has_step
from training_monitor.parse.format import Format
from training_monitor.parse.lines import Lines
from training_monitor.parse.markers import Markers
from training_monitor.records import Facts, Failure, Finish, Record, Step

#: What the W&B client says on the console: the run's id joins this log with the run's other sources.
_WANDB = re.compile(rb"wandb: .{0,200}?(?:run-\d{8}_\d{6}-([\w-]{1,64})$|https?://\S{1,300}/runs/([\w-]{1,64})$)")
_EVENTS = (Step, Finish, Failure)


class TextDecoder:
    """The `Decoder` of text logs. `formats` in order of precedence; `forced` is a name in it."""

    def __init__(self, formats: Mapping[str, Format], forced: str | None = None) -> None:
        self.counts = Counts()
        self._lines = Lines(self.counts)
        self._markers = Markers()
        self._choice = Choice(formats, forced, self.counts)

    @property
    def format(self) -> str | None:
        return self._choice.current.name if self._choice.current else None

    def feed(self, data: bytes) -> list[Record]:
        out: list[Record] = []
        self._decode(*self._lines.feed(data), out)
        return out

    def end(self) -> list[Record]:
        out: list[Record] = []
        self._decode(*self._lines.end(), out)
        out.extend(self._choice.end())
        if failure := self._markers.end():
            out.append(failure)
        return out

    def state(self) -> dict[str, Any]:
        return {
            "lines": self._lines.state(),
            "markers": self._markers.state(),
            "choice": self._choice.state(),
            "counts": [self.counts.lines, self.counts.parsed, dict(self.counts.errors)],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError if `state` is of another version."""
        self._choice.restore(state["choice"])
        self._lines.restore(state["lines"])
        self._markers.restore(state["markers"])
        self.counts.lines, self.counts.parsed, errors = state["counts"]
        self.counts.errors.clear()
        self.counts.errors.update(errors)

    def _decode(self, numbers: Sequence[int], lines: Sequence[bytes], out: list[Record]) -> None:
        i, n, parsed, choice = 0, len(lines), 0, self._choice
        while i < n:
            if (current := choice.current) is not None:
                before = len(out)
                end = current.run(lines, numbers, i, out)
                if end > i:
                    choice.ran(out, before)
                    current.is_underway = True
                    self._markers.step()
                    parsed += end - i
                    i = end
                    continue
            line = lines[i]
            if line and not line.isspace():
                parsed += self._line(line, numbers[i], out)
            i += 1
        self.counts.lines += n - lines.count(b"")
        self.counts.parsed += parsed

    def _line(self, line: bytes, number: int, out: list[Record]) -> bool:
        """Takes one line the slow way; returns whether it gave a record."""
        records = list(self._choice.parse(line, number) or ())
        if has_step(records):
            self._markers.step()
        if b"wandb: " in line and (found := _WANDB.search(line)):
            records.append(Facts(run_id=(found[1] or found[2]).decode()))
        if failure := self._markers.scan(line, number):
            records.append(failure)
        if self._choice.current and any(type(r) in _EVENTS for r in records):
            self._choice.current.is_underway = True
        out += records
        return bool(records)
