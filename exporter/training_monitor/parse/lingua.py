"""Meta lingua, `apps/main/train.py`."""

from __future__ import annotations

import re

from training_monitor.parse.format import Format, Match
from training_monitor.records import Step

_STEP = re.compile(
    rb"step: (\d{1,9})  acc: \d{1,9}  loss: {1,8}(\S{1,30})  grad: (\S{1,30})  flops: (\S{1,30})  wps: (\S{1,30})  "
    rb"iter: {1,8}(\S{1,30})  data: {1,8}\S{1,30}  lr: (\S{1,30})  mem:"
)


class Lingua(Format):
    """Every rank writes the loss of its own batch."""

    __slots__ = ()

    name = "lingua"
    title = "lingua"
    example = (
        "step: 1200  acc: 0  loss:  3.1245  grad: 3.21e-01  flops: 3.85e+14  wps: 5.12e+04  iter:  0.3501  "
        "data: 0.001  lr: 3.00e-03  mem: 71%  pow: 640.2 W"
    )
    versions = "613018aa (read from the source; no real log was seen)"
    reads = "step, loss, grad, flops, wps, iter, lr"
    units = "iter: s; wps: tokens per second and GPU; flops: FLOP/s per GPU"
    limits = "no total number of steps"
    loss_kind = "one rank"
    tokens_scope = "device"
    step_line = _STEP

    def step(self, match: Match, line: int, time: float | None) -> Step:
        step, loss, grad, flops, wps, seconds, lr = match.groups()
        return Step(
            int(step),
            float(loss),
            learning_rate=float(lr),
            grad_norm=float(grad),
            step_time_s=float(seconds),
            tokens_per_second=float(wps),
            tflops=float(flops) / 1e12,
            time=time,
            line=line,
        )
