"""karpathy/nanoGPT, `train.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training_monitor.parse.format import Format, Match, starting_fact
from training_monitor.parse.values import integer, percent
from training_monitor.parse.values import number as number_of
from training_monitor.records import Facts, Pause, Record, Step, Validation

_ITER = re.compile(rb"iter (\d{1,9}): loss ([^\s,]+), time ([^\s,]+)ms(?:, mfu ([^\s,]+))?")
_EVAL = re.compile(rb"step (\d{1,9}): train loss ([^\s,]+), val loss ([^\s,]+)")


class NanoGpt(Format):
    """Prints the loss of the last micro-batch every `log_interval` iterations, and no total but in an echoed config."""

    __slots__ = ("resuming",)

    name = "nanogpt"
    title = "nanoGPT"
    example = "iter 1990: loss 3.6476, time 3016.37ms, mfu 21.25%"
    versions = "2023-01 to 3adf61e1 (2025-11-12); mfu since ab0718a7 (2023-02-05)"
    reads = "iteration, loss, time, mfu; val loss; parameters, tokens per iteration, max_iters, resume, checkpoints"
    smoothed = "mfu: moving average (0.9); loss: last micro-batch times the accumulation steps, not smoothed"
    units = "time: ms, evaluation and checkpoint included; mfu: percent of an A100 whatever the GPU"
    limits = "mfu -100.00% in the first iterations is no value; the total is known only if the configuration is echoed"

    step_line = _ITER

    def __init__(self) -> None:
        super().__init__()
        self.resuming = False

    def step(self, match: Match, number: int, time: float | None) -> Step:
        step, loss, dt, mfu = match.groups()
        return Step(
            int(step),
            float(loss),
            mfu_ratio=percent(mfu) if mfu else None,
            step_time_s=float(dt) / 1000,
            time=time,
            line=number,
        )

    def _evaluation(self, match: Match, number: int, time: float | None) -> Sequence[Record] | None:
        step = int(match[1])
        loss = Validation("loss", float(match[2]), step, time, number)
        pause = Pause("evaluation", step, None, time, number)
        if self.resuming:
            self.resuming = False
            return (Facts(resumed_from=step), loss, pause)
        return (loss, pause)

    def _checkpoint(self, match: Match, number: int, time: float | None) -> Sequence[Record] | None:
        return (Pause("checkpoint", None, None, time, number),)

    def _resume(self, match: Match, number: int, time: float | None) -> Sequence[Record] | None:
        """The step at which it resumes comes with the first evaluation, which precedes every step."""
        self.resuming = True
        return self.begins("resume", number, time)

    table = (
        (re.compile(rb"step (\d{1,9}): train loss [^\s,]+, val loss ([^\s,]+)"), _evaluation),
        (re.compile(rb"saving checkpoint to "), _checkpoint),
        (re.compile(rb"Resuming training from \S+$"), _resume),
        starting_fact(
            "max_iters", rb"(?:Overriding: )?max_iters *= *(\d{1,9})\b", lambda m: Facts(total_steps=int(m[1]))
        ),
        starting_fact(
            "tokens", rb"tokens per iteration will be: ([\d,]+)$", lambda m: Facts(tokens_per_step=integer(m[1]))
        ),
        starting_fact("parameters", rb"number of parameters: ([\d.]+M)$", lambda m: Facts(parameters=number_of(m[1]))),
    )
