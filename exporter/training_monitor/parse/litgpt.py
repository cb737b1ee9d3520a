"""Lightning litgpt, `pretrain.py` and `finetune/*.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training_monitor.parse.format import Format, Match, starting_fact
from training_monitor.parse.values import integer
from training_monitor.records import Facts, Finish, Pause, Record, Step, Validation

_LINE = re.compile(
    rb"Epoch (\d{1,9}) \| iter (\d{1,12}) step (\d{1,9}) \| loss train: ([^\s,]{1,30}), val: \S{1,30} \| "
    rb"iter time: ([\d.]{1,20}) ms"
)


class LitGpt(Format):
    """Two counters: `iter` counts micro-batches, `step` optimizer steps; the time is that of a micro-batch."""

    __slots__ = ()

    name = "litgpt"
    title = "litgpt"
    example = (
        "Epoch 34 | iter 3050700 step 610140 | loss train: 2.846, val: 2.861 | iter time: 112.20 ms (step) remaining "
        "time: 0:01:54"
    )
    versions = "0.4 to 0.5.13"
    reads = "step, loss, epoch, time; val loss; parameters, end"
    units = "time: ms of a micro-batch, times iter/step for that of a step"
    limits = "no total number of steps, no learning rate; the val on the step line is the last one again: not used"
    loss_kind = "mean of the logged interval"
    step_line = _LINE

    def step(self, match: Match, line: int, time: float | None) -> Step:
        epoch, iteration, step_, loss, ms = match.groups()
        step = int(step_)
        batches = max(1, round(int(iteration) / step)) if step else 1
        return Step(step, float(loss), step_time_s=float(ms) / 1000 * batches, epoch=float(epoch), time=time, line=line)

    def _validation(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        seconds = float(match[2]) / 1000
        return (Validation("loss", float(match[1]), None, time, line), Pause("evaluation", None, seconds, time, line))

    def _final(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        return (Validation("loss", float(match[1]), None, time, line), Finish(time, line))

    table = (
        (re.compile(rb"iter \d{1,12}: val loss ([\d.]{1,20}|nan|inf), val time: ([\d.]{1,20}) ms"), _validation),
        (re.compile(rb"Final evaluation \| val loss: ([\d.]{1,20}|nan|inf)\b"), _final),
        starting_fact("parameters", rb"Total parameters: ([\d,]{1,20})$", lambda m: Facts(parameters=integer(m[1]))),
    )
