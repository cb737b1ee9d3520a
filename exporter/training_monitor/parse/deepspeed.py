"""microsoft/DeepSpeed, the lines of the engine: `steps_per_print` and the throughput timer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training_monitor.parse.format import Format, Match
from training_monitor.records import Record, Step

_STEP = re.compile(
    rb"(?:\[Rank \d{1,6}\] )?step=([1-9]\d{0,8}), skipped=\d{1,9}, lr=\[([^\],]{1,40})[^\]]{0,4000}\], mom="
)


class DeepSpeed(Format):
    """The engine knows neither loss nor total; a trainer that prints its own lines is read instead."""

    __slots__ = ("given",)

    name = "deepspeed"
    title = "DeepSpeed engine"
    example = "[Rank 0] step=1, skipped=0, lr=[3.3333333333333333e-06, 3.3333333333333333e-06], mom=[[0.9, 0.95]]"
    versions = "0.9 to 0.17"
    reads = "step, learning rate"
    limits = "no loss: only progress can be watched"
    is_generic = True
    step_line = _STEP

    def __init__(self) -> None:
        super().__init__()
        self.given = -1

    def step(self, match: Match, line: int, time: float | None) -> Step:
        self.given = int(match[1])
        return Step(self.given, learning_rate=float(match[2]), time=time, line=line)

    def _timer(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        """`epoch=0/micro_step=8/global_step=4, RunningAvgSamplesPerSec=…`: a step that has no line of its own."""
        step = int(match[1])
        if step == self.given:
            return ()
        self.given = step
        return (Step(step, time=time, line=line),)

    table = (
        (re.compile(rb"epoch=\d{1,9}/micro_step=\d{1,12}/global_step=(\d{1,9}), RunningAvgSamplesPerSec="), _timer),
    )
