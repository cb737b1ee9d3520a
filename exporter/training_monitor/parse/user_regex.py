"""The user's own patterns: named groups are names of the alias table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from training_monitor.parse.aliases import field_of
from training_monitor.parse.format import Format, Unreadable
from training_monitor.parse.rows import RowReader, plan_of
from training_monitor.parse.values import number as number_of
from training_monitor.records import Record

if TYPE_CHECKING:
    import regex

LONGEST = 4096  # bytes of a line that a pattern sees
TIMEOUT_S = 0.05  # for one line; a sane pattern takes microseconds
TIMEOUTS = 20  # after so many the pattern is given up: it would hold up the whole log


class UserRegex(Format):
    """Uses the package `regex`, which can stop a search that takes too long; Python's own cannot."""

    __slots__ = ("own", "reader", "timeouts")
    constants = ("own",)

    name = "regex"
    title = "your own patterns"
    example = r"ep 3 it 1200 L=3.245    with the pattern    it (?P<step>\d+) L=(?P<loss>[\d.]+)"
    versions = "any"
    reads = "named groups with names of the alias table: a step and one more"
    smoothed = "unknown: taken as the step's own loss"
    units = "as the group's name says: step_time_ms, mfu_percent, tokens_per_second, …"
    limits = "a pattern sees 4096 bytes of a line, may take 50 ms for it, and is given up after doing so 20 times"
    loss_kind = None
    has_gate = False

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        super().__init__()
        self.own = [compiled(p) for p in patterns]
        self.reader = RowReader()
        self.timeouts = 0

    def parse(self, line: bytes, number: int, time: float | None) -> Sequence[Record] | None:
        if self.timeouts >= TIMEOUTS:
            return None
        for pattern in self.own:
            try:
                match = pattern.search(line[:LONGEST], timeout=TIMEOUT_S)
            except TimeoutError:
                self.timeouts += 1
                raise Unreadable("regex_timeout") from None
            if match:
                row = {name: number_of(text) for name, text in match.groupdict().items() if text is not None}
                out: list[Record] = []
                return out if self.reader.take(plan_of(tuple(row)), list(row.values()), out, number, time) else None
        return None


def compiled(pattern: str) -> regex.Pattern[bytes]:
    """The pattern for bytes. Raises ValueError, with what is wrong and what is allowed."""
    import regex

    try:
        result = regex.compile(pattern.encode())
    except regex.error as error:
        raise ValueError(f"regex {pattern!r}: {error}") from error
    fields = {name: alias.field if (alias := field_of(name)) else None for name in result.groupindex}
    if unknown := [name for name, field in fields.items() if field is None]:
        raise ValueError(f"regex {pattern!r}: no known name: {unknown[0]}; known are step, loss, learning_rate, mfu, …")
    if "step" not in fields.values() or len(fields) < 2:
        raise ValueError(f"regex {pattern!r}: needs (?P<step>…) and one more named group, such as (?P<loss>…)")
    return result
