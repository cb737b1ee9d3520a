"""What every text format promises: one line in, records out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any, ClassVar, TypeAlias

from training_monitor.records import Facts, Record, Scope, Start, Step, Steps
from training_monitor.state import Stateful

Match: TypeAlias = re.Match[bytes]
#: Reads what a pattern found: (format, match, line number, unix seconds of the line). None: not ours after all.
Reader: TypeAlias = Callable[[Any, Match, int, "float | None"], "Sequence[Record] | None"]
Table: TypeAlias = "tuple[tuple[re.Pattern[bytes], Reader], ...]"
#: What a group of a pattern holds in each line; None in lines without it.
Texts: TypeAlias = "Sequence[Any]"
STRETCH = 512  # step lines that are looked at together


class Unreadable(ValueError):
    """A line that is ours and cannot be read; the message is the reason under which it is counted."""


class Format(Stateful):
    """One trainer's way to write lines. Slots hold what must be remembered between lines; it is bounded.

    A pattern must match whole values (so that source code in a log, `step:{step}`, does not) and be linear in the
    length of the line. Class attributes are the documentation: `training-monitor formats` and docs/log-formats.md
    show them.
    """

    __slots__ = ("is_underway", "seen")

    name: ClassVar[str]
    title: ClassVar[str]
    example: ClassVar[str]  # one real line
    versions: ClassVar[str]  # of the trainer whose source was read
    reads: ClassVar[str]  # what is taken from the log
    smoothed: ClassVar[str] = "nothing"
    units: ClassVar[str] = ""
    limits: ClassVar[str] = ""
    loss_kind: ClassVar[str | None] = "raw"
    tokens_scope: ClassVar[Scope | None] = None
    is_generic: ClassVar[bool] = False  # gives way to any other format that knows the line
    step_line: ClassVar[re.Pattern[bytes] | None] = None  # a line that `step` makes one Step of
    steps: ClassVar[Table] = ()  # other frequent lines, most of them with a step
    table: ClassVar[Table] = ()  # all other lines: the first that matches reads
    has_gate: ClassVar[bool] = True  # no line is ours that neither `step_line` nor `table` matches

    def __init__(self) -> None:
        self.seen: list[str] = []  # kinds of header lines of this process
        self.is_underway = False  # a step, an end or an error came since the last `Start`; the decoder says so

    def parse(self, line: bytes, number: int, time: float | None) -> Sequence[Record] | None:
        """The records of one line without launcher prefix: none yet if it begins a block, None if it is not ours.

        Raises ValueError if a value cannot be read. Changes nothing if the line is not ours.
        """
        if self.step_line is not None and (match := self.step_line.match(line)):
            return (self.step(match, number, time),)
        for pattern, read in (*self.steps, *self.table):
            if match := pattern.match(line):
                return read(self, match, number, time)
        return None

    def step(self, match: Match, number: int, time: float | None) -> Step:
        """The step that `step_line` found. Raises ValueError."""
        raise NotImplementedError

    def columns(self, texts: Sequence[Texts], numbers: Sequence[int]) -> Steps | None:
        """The steps of several lines, from the groups of `step_line`; None: this format reads them one by one.

        Raises ValueError, before it has changed anything.
        """
        return None

    def run(self, lines: Sequence[bytes], numbers: Sequence[int], start: int, out: list[Record]) -> int:
        """Takes the frequent lines from `start` on into `out`; returns the index of the first other line."""
        step_line, step, append = self.step_line, self.step, out.append
        if step_line is not None and type(self).columns is not Format.columns:
            start = self._run_columns(step_line, lines, numbers, start, out)
        for i in range(start, len(lines)):
            try:
                if step_line is not None and (found := step_line.match(lines[i])):
                    append(step(found, numbers[i], None))
                elif not self.steps or (records := self._frequent(lines[i], numbers[i])) is None:
                    return i
                else:
                    out += records
            except (ValueError, OverflowError):
                return i
        return len(lines)

    def _run_columns(
        self,
        step_line: re.Pattern[bytes],
        lines: Sequence[bytes],
        numbers: Sequence[int],
        start: int,
        out: list[Record],
    ) -> int:
        """As `run`, for step lines in a row; stops before a stretch in which a value cannot be read."""
        while start < len(lines):
            stretch = lines[start : start + STRETCH]
            found: list[Match] = list(takewhile(bool, map(step_line.match, stretch)))  # type: ignore[arg-type]
            end = start + len(found)
            if not found:
                break
            try:
                steps = self.columns([*zip(*[match.groups() for match in found], strict=True)], numbers[start:end])
            except (ValueError, OverflowError):
                break
            if steps is None:
                break
            out.append(steps)
            start = end
            if len(found) < len(stretch):
                break
        return start

    def _frequent(self, line: bytes, number: int) -> Sequence[Record] | None:
        for pattern, read in self.steps:
            if match := pattern.match(line):
                return read(self, match, number, None)
        return None

    @classmethod
    def patterns(cls) -> list[bytes]:
        """The patterns one of which matches every line that is ours, if `has_gate`."""
        own = [cls.step_line.pattern] if cls.step_line else []
        return own + [pattern.pattern for pattern, _ in (*cls.steps, *cls.table)]

    def end(self) -> Sequence[Record]:
        """What an unfinished block of lines gives."""
        return ()

    def facts(self) -> Facts:
        """What the format itself says about every run."""
        return Facts(format=self.name, loss_kind=self.loss_kind, tokens_scope=self.tokens_scope)

    def begins(self, kind: str, number: int, time: float | None) -> list[Record]:
        """A `Start` if header line `kind` belongs to a new process.

        stdout is written in blocks and stderr at once, so the header lines of one process come in any order, even after
        its error; and every rank may write them. So it is a new one if it is the first, or if a kind comes again after
        something happened.
        """
        if self.seen and not (self.is_underway and kind in self.seen):
            if kind not in self.seen:
                self.seen.append(kind)
            return []
        self.seen = [kind]
        self.is_underway = False
        return [Start(time, number), self.facts()]


def fact(pattern: bytes, read: Callable[[Match], Facts]) -> tuple[re.Pattern[bytes], Reader]:
    """A line of a table that gives one `Facts`."""
    return re.compile(pattern), lambda _self, match, _number, _time: (read(match),)


def starting_fact(kind: str, pattern: bytes, read: Callable[[Match], Facts]) -> tuple[re.Pattern[bytes], Reader]:
    """The same for a header line that every process writes once: it may be the first of a new one."""
    return re.compile(pattern), lambda self, match, number, time: (*self.begins(kind, number, time), read(match))
