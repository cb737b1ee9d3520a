"""Lines of `key: value`, `key=value` and `key value` of whatever trainer, and the postfix of a tqdm bar.

Names mean what `parse.aliases` says; a unit behind the number (`ms`, `%`, `K`) is believed. A line counts if it names a
step and something that tells how training goes. What a line means hangs on the texts between its numbers: it is worked
out once for each such shape, so that the next lines of the shape are read quickly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from training_monitor.parse.aliases import field_of
from training_monitor.parse.format import Format
from training_monitor.parse.rows import Plan, RowReader, plan_of
from training_monitor.parse.values import number as number_of
from training_monitor.records import Record

LONGEST = 4096  # bytes of a line that are looked at
SHAPES = 64  # that are remembered

_NUMBER = rb"[-+]?(?:\d[\d,]{0,30}(?:\.\d{0,30})?|\.\d{1,30})(?:e[-+]?\d{1,4})?|(?<![a-z])[-+]?(?:nan|inf)(?![a-z])"
_NUMBERS = re.compile(rb"(" + _NUMBER + rb")", re.IGNORECASE)
_HINT = re.compile(rb"(?i)step|iter|batch|update|\d/\d")
_PAIR = re.compile(
    rb"(?<![\w.])([A-Za-z_][\w./@\-]{0,40}(?: [A-Za-z_(][\w./@()\-]{0,30}){0,3}) {0,2}(?::|=| ) {0,12}"
    rb"'?(" + _NUMBER + rb")'?(?:/(\d[\d,]{0,20}))? ?(ms|sec|s|%|[KMBGT])?(?=$|[\s|,;)\]}])",
    re.IGNORECASE,
)
_BAR = re.compile(
    rb"(\d{1,12})/(\d{1,12}) \[[\d:]{1,20}<[\d:?, days]{1,30}, +([\d.?]{1,20})(it/s|s/it)(?:, ([^\[\]]{1,2000}))?\]"
)
_EPOCH = re.compile(rb"Epoch (\d{1,6}): ")  # Lightning
_SCALES = {b"K": 1e3, b"M": 1e6, b"B": 1e9, b"G": 1e9, b"T": 1e12}
_TOTALS = ("train_steps", "training_steps", "num_steps")  # of a run, in lines for people
_TELLING = ("loss", "grad_norm", "mfu_ratio", "step_time_s", "tokens_per_second", "tflops")
_TIMES = ("dt", "time", "step_time", "iter_time", "step time", "iter time", "it_time")


class Column(NamedTuple):
    """A number of a line: what it is called, where its text stands, and the factor of its suffix."""

    name: str
    start: int
    end: int
    scale: float


class Shape(NamedTuple):
    """How to read lines that differ in their numbers only."""

    plan: Plan
    numbers: tuple[tuple[int, float], ...]  # place among the numbers of the line, factor


class KeyValue(Format):
    """The fallback that reads most hand-written training loops."""

    __slots__ = ("reader", "shapes")
    constants = ("shapes",)

    name = "key-value"
    title = "key: value, key=value, tqdm postfix"
    example = "step 1000 | loss: 3.245 | lr: 0.0001 | mfu: 42.3%"
    versions = "any"
    reads = "every name of the alias table (docs/log-formats.md); step 10/100 gives the total as well"
    smoothed = "unknown: taken as the step's own loss"
    units = (
        "as printed behind the number; mfu without sign: percent once a value above 1.5 was seen; dt without unit: ms "
        "once above 1000"
    )
    limits = "only lines with a step; of several losses the one named `loss` counts"
    loss_kind = None
    is_generic = True
    has_gate = False

    def __init__(self) -> None:
        super().__init__()
        self.reader = RowReader()
        self.shapes: dict[tuple[bytes, ...], Shape] = {}

    def parse(self, line: bytes, number: int, time: float | None) -> Sequence[Record] | None:
        line = line[:LONGEST]
        if not _HINT.search(line):
            return None
        bar = _BAR.search(line)
        postfix = bar if bar and bar[5] else None
        columns = _columns(line, *(postfix.span(5) if postfix else (0, len(line))))
        row = {c.name: number_of(line[c.start : c.end]) * c.scale for c in columns}
        if not _is_telling(row):
            return None
        if postfix:
            _read_bar(postfix, row, _EPOCH.match(line))
        if not any(_field(name) == "step" for name in row):
            return None
        plan = plan_of(tuple(row))
        if not postfix and time is None:
            self._learn(line, columns, plan)
        out: list[Record] = []
        return out if self.reader.take(plan, list(row.values()), out, number, time) else None

    def run(self, lines: Sequence[bytes], numbers: Sequence[int], start: int, out: list[Record]) -> int:
        shapes, split, take = self.shapes, _NUMBERS.split, self.reader.take
        if not shapes:
            return start
        for i in range(start, len(lines)):
            parts = split(lines[i]) if len(lines[i]) < LONGEST else []
            shape = shapes.get(tuple(parts[::2]))
            if shape is None:
                return i
            try:
                values = [number_of(parts[k]) * scale for k, scale in shape.numbers]
            except ValueError:
                return i
            if not take(shape.plan, values, out, numbers[i]):
                return i
        return len(lines)

    def _learn(self, line: bytes, columns: Sequence[Column], plan: Plan) -> None:
        """Remembers where the columns of this line stand among its numbers."""
        places = {m.span(): 2 * k + 1 for k, m in enumerate(_NUMBERS.finditer(line))}
        numbers = tuple((places.get((c.start, c.end), 0), c.scale) for c in columns)
        if len(line) < LONGEST and len(self.shapes) < SHAPES and all(place for place, _ in numbers):
            self.shapes[tuple(_NUMBERS.split(line)[::2])] = Shape(plan, numbers)


def _columns(line: bytes, start: int, end: int) -> list[Column]:
    """The named numbers of `line[start:end]`; of two with one name the first."""
    found: dict[str, Column] = {}
    for match in _PAIR.finditer(line, start, end):
        key, _, total, unit = match.groups()
        name = key.decode("ascii", "replace")
        if name.lower() in _TOTALS:
            name = "total_steps"
        if unit == b"%":
            name += "_percent"
        elif unit and unit not in _SCALES and name.lower() in _TIMES:
            name = "step_time_ms" if unit == b"ms" else "step_time_s"
        found.setdefault(name, Column(name, *match.span(2), _SCALES.get(unit, 1.0)))
        if total and _field(name) == "step":
            found.setdefault("total_steps", Column("total_steps", *match.span(3), 1.0))
    if "dtf" in found and "dt" in found:  # wordplay, in milliseconds
        found["dt"] = found["dt"]._replace(name="dt_ms")
    return list(found.values())


def _is_telling(row: dict[str, float]) -> bool:
    """Does it say how training goes? A configuration names steps and learning rates, too."""
    return any(field in _TELLING or field.startswith("validation:") for field in map(_field, row))


def _field(name: str) -> str:
    alias = field_of(name)
    return alias.field if alias else ""


def _read_bar(bar: re.Match[bytes], row: dict[str, float], epoch: re.Match[bytes] | None) -> None:
    """Step, total and step time of a tqdm bar, where its postfix does not name them.

    Lightning's bar counts the batches of one epoch: the step is the number of all batches so far.
    """
    n, total, rate, unit, _ = bar.groups()
    if epoch:
        row.setdefault("epoch", float(epoch[1]))
        if not any(name in row for name in ("step", "global_step")):
            row["step"] = float(epoch[1]) * float(total) + float(n)
    else:
        row.setdefault("step", float(n))
        row.setdefault("total_steps", float(total))
    if b"?" not in rate and (speed := float(rate)) > 0:
        row["step_time_s"] = speed if unit == b"s/it" else 1 / speed
