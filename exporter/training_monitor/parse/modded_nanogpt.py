"""KellerJordan/modded-nanogpt: the line with `step:N/M`; its first era (`s:N trl:`) is llm.c's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite

from training_monitor.parse.format import Format, Match
from training_monitor.parse.values import percent
from training_monitor.records import Facts, Finish, Pause, Record, Step, Validation

_LINE = re.compile(
    rb"step:(\d{1,9})/(\d{1,9}),? (?:tokens seen: ?\S{1,20}, )?(?:(avg_train_loss|train_loss|val_loss):(\S+) )?"
    rb"(?:train_)?time:([\d.]{1,20})(?:/[\d.]{1,20})?(ms|s) step_avg:([\d.]{1,20}|nan)ms(?: mfu:(\S+))?$"
)


class ModdedNanoGpt(Format):
    """`step_avg` is the mean since the start; the time of a step is the growth of `train_time`."""

    __slots__ = ("last", "stepped", "train_time")

    name = "modded-nanogpt"
    title = "modded-nanogpt"
    example = "step:128/5100 train_loss:4.9967 train_time:20833ms step_avg:176.55ms"
    versions = "b356a1fb (2024-10-11) to f411b3d3 (2026-08-01)"
    reads = "step, total, train_loss (until 2024-12), train_time, mfu of a variant; val_loss; end"
    smoothed = "step_avg (not used); avg_train_loss of a variant"
    units = "train_time: ms or s, as printed; mfu: percent"
    limits = (
        "no training loss since 8011fe76 (2024-12-09); train_time restarts after step 10; a log with validation lines "
        "only gives steps without loss; the source code at the head of the file is passed over"
    )

    def __init__(self) -> None:
        super().__init__()
        self.last = -1  # step of the last line
        self.stepped = -1  # last step given
        self.train_time = 0.0  # seconds, of the last line

    def _line(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        step_, total, name, value, elapsed, unit, average, mfu = match.groups()
        step = int(step_)
        seconds = float(elapsed) * (0.001 if unit == b"ms" else 1.0)
        step_time = self._step_time(step, seconds, average, is_coarse=unit == b"s" and b"." not in elapsed)
        records: list[Record] = []
        if name == b"val_loss":
            records = [Validation("loss", float(value), step, time, line), Pause("evaluation", step, None, time, line)]
        if name != b"val_loss" or 0 < step != self.stepped:
            self.stepped = step
            loss = float(value) if name and name != b"val_loss" else None
            ratio = percent(mfu) if mfu else None
            record = Step(
                step, loss, mfu_ratio=ratio, step_time_s=step_time, total_steps=int(total), time=time, line=line
            )
            records.insert(0, record)
        return records

    def _step_time(self, step: int, train_time: float, average: bytes, is_coarse: bool) -> float | None:
        """Seconds a step since the last line; the mean where that cannot be told (clock set back, whole seconds)."""
        steps, seconds = step - self.last, train_time - self.train_time
        known = self.last >= 0
        self.last, self.train_time = step, train_time
        if known and steps > 0 and seconds > (20 if is_coarse else 0):
            return seconds / steps
        mean = float(average) / 1000
        return mean if step > 0 and isfinite(mean) else None

    def _finish(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        return (Finish(time, line),)

    def _start(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        start = self.begins(match[0][:16].decode("ascii", "replace"), line, time)
        if not match[1]:
            return start
        return (*start, Facts(gpu=match[1].decode("utf-8", "replace"), world_size=int(match[2])))

    steps = ((_LINE, _line),)
    table = (
        (re.compile(rb"peak memory (?:allocated|consumption): \d"), _finish),
        (
            re.compile(
                rb"Running [Pp]y[Tt]orch \d\S* compiled for CUDA \S+(?: on (.{1,80}) with world_size (\d{1,6}))?"
            ),
            _start,
        ),
        (re.compile(rb"Running on device_name=(.{1,80}) with world_size=(\d{1,6})$"), _start),
    )
