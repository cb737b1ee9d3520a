"""Finds out, line by line, which of the text formats wrote a log.

The format is told by what the lines say, never by the file's name. The first line that a format knows chooses it; a
step line of another trainer in the middle of a log switches over (a base_train followed by a chat_sft in one file).
What generic formats read never takes over from a trainer's own step lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from training_monitor.parse.base import Counts
from training_monitor.parse.format import Format, Unreadable
from training_monitor.parse.prefix import Prefix, stages
from training_monitor.records import Finish, Record, Start, Step, Steps, Validation

#: Generic step lines under the header of a trainer's own format that are held back until they are believed: its own
#: step lines may still come (gpt-neox writes `steps: 1 loss: …` beside them).
DOUBTS = 4
RANKS = 64  # ranks that are told apart


class Texts(NamedTuple):
    """A line without its prefixes: one text for each that can be taken off."""

    all: list[Prefix]
    known: list[Prefix]  # those that some format with a gate may know


class Choice:
    """Parses lines with the current format, and changes it. `formats` in order of precedence."""

    def __init__(self, formats: Mapping[str, Format], forced: str | None, counts: Counts) -> None:
        self._formats = formats
        self._gate = _gate(tuple(type(fmt) for fmt in formats.values()))
        self._all = list(formats.values())
        self._without_gate = [fmt for fmt in formats.values() if not fmt.has_gate]
        self._is_forced = forced is not None
        self._counts = counts
        self.current: Format | None = formats[forced] if forced else None
        self.has_steps = False  # the current format has given a step
        self._is_told = False  # facts of the current format have been given
        self._former: list[str] = []  # formats that were current
        self._doubted: list[list[Any]] = []  # [number, line], at most DOUBTS
        self._ranks: dict[str, int] = {}  # last step of each rank whose lines carry its number

    def parse(self, line: bytes, number: int) -> Sequence[Record] | None:
        """The records of a line; None if no format knows it."""
        texts = self._gated(line)
        is_generic = self.current is not None and self.current.is_generic and not self._is_forced
        if is_generic and (records := self._parse_with_others(texts, number)) is not None:
            return records
        if self.current and (records := self._attempt(self.current, texts, number)) is not None:
            if has_step(records):
                self.has_steps, self._doubted = True, []
                records = self._with_start(records, texts.all[-1].rank)
            return self._with_facts(records)
        return None if self._is_forced or is_generic else self._parse_with_others(texts, number)

    def ran(self, out: list[Record], start: int) -> None:
        """The current format's fast path has put steps into `out` from `start` on."""
        if not self._is_told:
            out[start:] = self._with_facts(out[start:])
        if has_step(out[start:]):
            self.has_steps, self._doubted = True, []

    def end(self) -> list[Record]:
        """The records of lines that were held back, and of an unfinished block."""
        out = self._believed()
        for fmt in [self.current] if self.current else self._all:
            records = fmt.end()
            if records and self.current is None:
                self._switch(fmt, has_step(records))
            out += self._with_facts(records)
        return out

    def state(self) -> dict[str, Any]:
        return {
            "current": self.current.name if self.current else None,
            "has_steps": self.has_steps,
            "is_told": self._is_told,
            "former": self._former,
            "doubted": self._doubted,
            "ranks": self._ranks,
            "formats": {name: fmt.state() for name, fmt in self._formats.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError if `state` is of another version."""
        if set(state["formats"]) != set(self._formats):
            raise ValueError("the state knows other formats")
        self.current = self._formats[state["current"]] if state["current"] else None
        self.has_steps, self._is_told = state["has_steps"], state["is_told"]
        self._former, self._doubted = list(state["former"]), [list(pair) for pair in state["doubted"]]
        self._ranks = dict(state["ranks"])
        for name, saved in state["formats"].items():
            self._formats[name].restore(saved)

    def _parse_with_others(self, texts: Texts, number: int) -> Sequence[Record] | None:
        is_sure = self.has_steps and self.current is not None and not self.current.is_generic
        for other in self._all if texts.known else self._without_gate:
            if other is self.current or (is_sure and other.is_generic):
                continue
            if not (records := self._attempt(other, texts, number)):
                continue
            if self._takes_over(other, records):
                self._switch(other, has_step(records))
                return self._with_facts(records)
            if other.name in self._former and any(type(r) is Finish for r in records):
                return records
            if has_step(records) and not self.has_steps:
                self._doubted.append([number, texts.all[0].rest.decode("latin-1")])
                return self._believed() if len(self._doubted) > DOUBTS else ()
        return None

    def _with_start(self, records: Sequence[Record], rank: int | None) -> Sequence[Record]:
        """`records`, behind a `Start` if this very rank has gone back: it is not another rank, which may lag behind."""
        step = next(r for r in records if type(r) is Step)
        if rank is None:
            return records
        last = self._ranks.pop(str(rank), -1)
        self._ranks[str(rank)] = step.step
        if len(self._ranks) > RANKS:
            del self._ranks[next(iter(self._ranks))]
        return records if step.step >= last else [Start(step.time, step.line), *records]

    def _takes_over(self, other: Format, records: Sequence[Record]) -> bool:
        if self.current is None:
            return True
        if not other.is_generic:
            signs = (Step,) if self.has_steps else (Step, Validation, Finish)
            return any(type(r) in signs for r in records)
        return self.current.is_generic and any(type(r) is Step and r.loss is not None for r in records)

    def _switch(self, other: Format, has_steps: bool) -> None:
        if self.current and self.current.name not in self._former:
            self._former.append(self.current.name)
        self.current, self.has_steps, self._is_told, self._doubted = other, has_steps, False, []

    def _believed(self) -> list[Record]:
        """The records of the lines held back: no step line of the trainer whose header was seen has come."""
        held, self._doubted = self._doubted, []
        out: list[Record] = []
        for number, line in held:
            texts = self._gated(line.encode("latin-1"))
            for other in self._all:
                if other.is_generic and (records := self._attempt(other, texts, number)) and has_step(records):
                    if other is not self.current:
                        self._switch(other, has_steps=True)
                    out += self._with_facts(records)
                    break
        return out

    def _gated(self, line: bytes) -> Texts:
        every = list(stages(line))
        return Texts(every, [text for text in every if self._gate.match(text.rest)])

    def _attempt(self, fmt: Format, texts: Texts, number: int) -> Sequence[Record] | None:
        """What `fmt` reads in the line, with as few prefixes taken off as possible."""
        time = texts.all[-1].time
        for text, _, _ in texts.known if fmt.has_gate else texts.all:
            try:
                records = fmt.parse(text, number, time)
            except Unreadable as reason:
                self._counts.error(str(reason))
                return None
            except (ValueError, OverflowError):
                self._counts.error("bad_value")
                return ()
            if records is not None:
                return records
        return None

    def _with_facts(self, records: Sequence[Record]) -> Sequence[Record]:
        """`records`, and in front of the first of the current format what the format itself says."""
        if self._is_told or not records or self.current is None:
            return records
        self._is_told = True
        return records if type(records[0]) is Start else [self.current.facts(), *records]


@lru_cache(maxsize=4)
def _gate(formats: tuple[type[Format], ...]) -> re.Pattern[bytes]:
    """One pattern for all lines of the formats that have a gate: most lines of a log are told in a single look."""
    return re.compile(b"|".join(b"(?:%s)" % p for fmt in formats if fmt.has_gate for p in fmt.patterns()))


def has_step(records: Sequence[Record]) -> bool:
    return any(type(r) is Step or type(r) is Steps for r in records)
