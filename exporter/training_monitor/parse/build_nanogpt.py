"""karpathy/build-nanogpt, `train_gpt2.py`: stdout and `log/log.txt`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training_monitor.parse.format import Format, Match, starting_fact
from training_monitor.parse.values import integer
from training_monitor.records import Facts, Pause, Record, Step, Validation

_STEP = re.compile(rb"step +(\d{1,9}) \| loss: (\S+) \| lr (\S+) \| norm: (\S+) \| dt: ([^\s|]+)ms \| tok/sec: (\S+)")
_METRICS = {b"val": "loss", b"hella": "hellaswag"}


class BuildNanoGpt(Format):
    """The file has one value a line: `4 train 10.786938`, `250 val 6.5210`, `250 hella 0.2487`."""

    __slots__ = ()

    name = "build-nanogpt"
    title = "build-nanogpt (stdout, log.txt)"
    example = "step   299 | loss: 5.963250 | lr 2.5175e-04 | norm: 0.8417 | dt: 415.19ms | tok/sec: 1262756.35"
    versions = "6104ab1 (2024-06-17)"
    reads = "step, loss, lr, norm, dt, tok/sec; validation loss, HellaSwag; batch size"
    units = "dt: ms, evaluation included; tok/sec: whole job"
    limits = "no total number of steps; validation lines of stdout carry no step: they belong to the next step line"
    tokens_scope = "global"

    step_line = _STEP

    def step(self, match: Match, number: int, time: float | None) -> Step:
        step, loss, lr, norm, dt, tokens = match.groups()
        return Step(
            int(step),
            float(loss),
            learning_rate=float(lr),
            grad_norm=float(norm),
            step_time_s=float(dt) / 1000,
            tokens_per_second=float(tokens.replace(b",", b"")),
            time=time,
            line=number,
        )

    def _file(self, match: Match, number: int, time: float | None) -> Sequence[Record] | None:
        step, value = int(match[1]), float(match[3])
        if match[2] == b"train":
            return (Step(step, value, time=time, line=number),)
        return (Validation(_METRICS[match[2]], value, step, time, number),)

    def _validation(self, match: Match, number: int, time: float | None) -> Sequence[Record] | None:
        loss = Validation("loss", float(match[1]), None, time, number)
        return (loss, Pause("evaluation", None, None, time, number))

    def _hellaswag(self, match: Match, number: int, time: float | None) -> Sequence[Record] | None:
        return (Validation("hellaswag", float(match[1]), None, time, number),)

    steps = ((re.compile(rb"(\d{1,9}) (train|val|hella) (-?\d+\.\d+|-?nan|-?inf)$"), _file),)
    table = (
        (re.compile(rb"validation loss: (\S+)$"), _validation),
        (re.compile(rb"HellaSwag accuracy: \d+/\d+=(\S+)$"), _hellaswag),
        starting_fact(
            "batch", rb"total desired batch size: (\d{1,12})$", lambda m: Facts(tokens_per_step=integer(m[1]))
        ),
    )
