"""Text logs: finds out which trainer wrote them and turns their lines into records.

The format is told by what the lines say, never by the file's name. A line of another format in the middle of a log
switches over (a base_train followed by a chat_sft in one file); what generic formats read never takes over from a
trainer's own format. Markers of crashes are looked for in every line that is no plain step line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training_monitor.parse.base import Counts
from training_monitor.parse.format import Format
from training_monitor.parse.lines import Lines
from training_monitor.parse.markers import Markers
from training_monitor.parse.prefix import Prefix, stages
from training_monitor.records import Record, Start, Step


class TextDecoder:
    """The `Decoder` of text logs. `formats` in order of precedence; `forced` is a name in it."""

    def __init__(self, formats: Mapping[str, Format], forced: str | None = None) -> None:
        self.counts = Counts()
        self._formats = formats
        self._forced = forced is not None
        self._lines = Lines(self.counts)
        self._markers = Markers()
        self._current: Format | None = formats[forced] if forced else None
        self._has_steps = False  # the current format has given a step
        self._is_told = False  # facts of the current format have been given

    @property
    def format(self) -> str | None:
        return self._current.name if self._current else None

    def feed(self, data: bytes) -> list[Record]:
        out: list[Record] = []
        self._decode(*self._lines.feed(data), out)
        return out

    def end(self) -> list[Record]:
        out: list[Record] = []
        self._decode(*self._lines.end(), out)
        if self._current:
            out.extend(self._current.end())
        if failure := self._markers.end():
            out.append(failure)
        return out

    def state(self) -> dict[str, Any]:
        return {
            "current": self.format,
            "has_steps": self._has_steps,
            "is_told": self._is_told,
            "lines": self._lines.state(),
            "markers": self._markers.state(),
            "formats": {name: f.state() for name, f in self._formats.items()},
            "counts": [self.counts.lines, self.counts.parsed, self.counts.errors],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError if `state` is of another version."""
        self._current = self._formats[state["current"]] if state["current"] else None
        self._has_steps, self._is_told = state["has_steps"], state["is_told"]
        self._lines.restore(state["lines"])
        self._markers.restore(state["markers"])
        if set(state["formats"]) != set(self._formats):
            raise ValueError("state knows other formats")
        for name, saved in state["formats"].items():
            self._formats[name].restore(saved)
        self.counts.lines, self.counts.parsed, self.counts.errors = state["counts"]

    def _decode(self, numbers: Sequence[int], lines: Sequence[bytes], out: list[Record]) -> None:
        i, n, parsed = 0, len(lines), 0
        while i < n:
            if self._current is not None:
                before = len(out)
                end = self._current.run(lines, numbers, i, out)
                if end > i:
                    if not self._is_told:
                        out.insert(before, self._current.facts())
                    parsed += end - i
                    self._has_steps = self._is_told = True
                    self._markers.step()
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
        before = len(out)
        texts = list(stages(line))
        records = self._parse(texts, number)
        if records:
            out.extend(records)
            if _has_step(records):
                self._markers.step()
        if failure := self._markers.scan(line, number, texts[-1].time):
            out.append(failure)
        return len(out) > before

    def _parse(self, texts: Sequence[Prefix], number: int) -> Sequence[Record] | None:
        """The records of a line that `texts` shows with ever fewer prefixes; None if no format knows it."""
        if self._current and (mine := self._attempt(self._current, texts, number)) is not None:
            self._has_steps = self._has_steps or _has_step(mine)
            return self._with_facts(self._current, mine)
        if self._forced:
            return None
        for other in self._formats.values():
            if other is self._current:
                continue
            records = self._attempt(other, texts, number)
            if records and self._takes_over(other, records):
                self._current, self._is_told, self._has_steps = other, False, _has_step(records)
                return self._with_facts(other, records)
        return None

    def _attempt(self, fmt: Format, texts: Sequence[Prefix], number: int) -> Sequence[Record] | None:
        for text, time, _ in texts:
            try:
                records = fmt.parse(text, number, time)
            except (ValueError, OverflowError):
                self.counts.error("bad_value")
                return ()
            if records is not None:
                return records
        return None

    def _takes_over(self, other: Format, records: Sequence[Record]) -> bool:
        if self._current is None:
            return True
        return _has_step(records) and (not self._has_steps or self._current.is_generic or not other.is_generic)

    def _with_facts(self, fmt: Format, records: Sequence[Record]) -> Sequence[Record]:
        """`records`, and in front of the first of a format what the format itself says."""
        if self._is_told or not records:
            return records
        self._is_told = True
        return records if isinstance(records[0], Start) else [fmt.facts(), *records]


def _has_step(records: Sequence[Record]) -> bool:
    return any(type(r) is Step for r in records)
