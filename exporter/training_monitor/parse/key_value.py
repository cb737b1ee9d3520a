"""Lines of `key: value`, `key=value` and `key value` of whatever trainer, and the postfix of a tqdm bar.

Names mean what `parse.aliases` says; a unit behind the number (`ms`, `%`, `K`) is believed. A line counts if it names a
step and one thing more that a monitor uses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from training_monitor.parse.aliases import field_of
from training_monitor.parse.format import Format
from training_monitor.parse.rows import RowReader, plan_of
from training_monitor.parse.values import number as parsed
from training_monitor.records import Record

LONGEST = 4096  # bytes of a line that are looked at

_HINT = re.compile(rb"(?i)step|iter|batch|update|\d/\d")
_PAIR = re.compile(
    rb"(?<![\w.])([A-Za-z_][\w./@\-]{0,40}(?: [A-Za-z_(][\w./@()\-]{0,30}){0,3}) {0,2}(?::|=| ) {0,12}"
    rb"'?([-+]?(?:\d[\d,]{0,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][-+]?\d{1,4})?|[-+]?nan|[-+]?inf|N/A)'?"
    rb"(?:/(\d[\d,]{0,20}))?"
    rb" ?(ms|sec|s|%|[KMBGT])?(?=$|[\s|,;)\]}])",
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


class KeyValue(Format):
    """The fallback that reads most hand-written training loops."""

    __slots__ = ("reader",)

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

    def parse(self, line: bytes, number: int, time: float | None) -> Sequence[Record] | None:
        line = line[:LONGEST]
        if not _HINT.search(line):
            return None
        row: dict[str, float] = {}
        bar = _BAR.search(line)
        _read_pairs(bar[5] if bar and bar[5] else line, row)
        if not row or not _is_telling(row):
            return None
        if bar and bar[5]:
            _read_bar(bar, row, _EPOCH.match(line))
        if not any(_field(name) == "step" for name in row):
            return None
        if "dtf" in row and "dt" in row:  # wordplay, in milliseconds
            row["dt_ms"] = row.pop("dt")
        out: list[Record] = []
        return out if self.reader.take(plan_of(tuple(row)), list(row.values()), out, number, time) else None


def _read_pairs(text: bytes, row: dict[str, float]) -> None:
    for key, value, total, unit in _PAIR.findall(text):
        if value == b"N/A":
            continue
        name = key.decode("ascii", "replace")
        if name.lower() in _TOTALS:
            name = "total_steps"
        scale = 1.0
        if unit == b"%":
            name += "_percent"
        elif unit in _SCALES:
            scale = _SCALES[unit]
        elif unit and name.lower() in _TIMES:
            name = "step_time_ms" if unit == b"ms" else "step_time_s"
        row.setdefault(name, parsed(value) * scale)
        if total and "total_steps" not in row and _field(name) == "step":
            row["total_steps"] = parsed(total)


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
