"""One JSON object a line, with whatever names: `parse.aliases` says what they mean."""

from __future__ import annotations

import json
from collections.abc import Sequence

from training_monitor.parse.format import Format
from training_monitor.parse.rows import RowReader, flattened, plan_of
from training_monitor.records import Finish, Record, Step


class Jsonl(Format):
    """Trainer logs, metrics files and own loggers."""

    __slots__ = ("reader",)

    name = "jsonl"
    title = "JSON lines"
    example = '{"current_steps": 5, "total_steps": 2178, "loss": 2.3475, "lr": 1.83e-06, "epoch": 0.0023}'
    versions = "LLaMA-Factory trainer_log.jsonl, fairseq, lingua and MaxText metrics files, any other"
    reads = "every name of the alias table (docs/log-formats.md), also in nested objects and as quoted numbers"
    smoothed = "unknown: taken as the step's own loss"
    units = "as the name says; mfu without unit is percent once a value above 1.5 was seen"
    limits = "an object without a step counts as the next one if no line has a step"
    loss_kind = None
    is_generic = True
    has_gate = False

    def __init__(self) -> None:
        super().__init__()
        self.reader = RowReader()

    def parse(self, line: bytes, number: int, time: float | None) -> Sequence[Record] | None:
        if not (line.startswith(b"{") and line.endswith(b"}")):
            return None
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return None
        row = flattened(row)
        out: list[Record] = []
        if self.reader.take(plan_of(tuple(row)), list(row.values()), out, number, time):
            return out
        return _last_row(row, number, time)

    def run(self, lines: Sequence[bytes], numbers: Sequence[int], start: int, out: list[Record]) -> int:
        for i in range(start, len(lines)):
            if not lines[i].startswith(b'{"') or not (records := self.parse(lines[i], numbers[i], None)):
                return i
            out += records
        return len(lines)


def _last_row(row: dict[str, object], number: int, time: float | None) -> Sequence[Record] | None:
    """LLaMA-Factory's last line has no loss: `{"current_steps": 2178, "total_steps": 2178, "epoch": 1.0, …}`."""
    step, total = row.get("current_steps"), row.get("total_steps")
    if type(step) is not int or step != total:
        return None
    return (Step(step, total_steps=step, time=time, line=number), Finish(time, number))
