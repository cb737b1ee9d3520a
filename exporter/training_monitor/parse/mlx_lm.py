"""ml-explore/mlx-lm, `tuner/trainer.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training_monitor.parse.format import Format, Match
from training_monitor.records import Facts, Pause, Record, Step, Validation

_STEP = re.compile(
    rb"Iter (\d{1,9}): Train loss ([^\s,]{1,30}), Learning Rate ([^\s,]{1,30}), It/sec ([^\s,]{1,30}), "
    rb"Tokens/sec ([^\s,]{1,30}), Trained Tokens ([^\s,]{1,30})"
)


class MlxLm(Format):
    """LoRA and full fine-tuning on Apple silicon."""

    __slots__ = ()

    name = "mlx-lm"
    title = "mlx-lm"
    example = (
        "Iter 30: Train loss 2.710, Learning Rate 1.000e-05, It/sec 16.846, Tokens/sec 1699.733, Trained Tokens 2768, "
        "Peak mem 1.437 GB"
    )
    versions = "2024 to 2025"
    reads = (
        "iteration, train loss, learning rate, It/sec, Tokens/sec, trained tokens; val loss and its time; total; "
        "checkpoints"
    )
    units = "It/sec gives the step time; Tokens/sec: whole job"
    limits = "three decimals"
    loss_kind = "mean of the logged interval"
    tokens_scope = "global"
    step_line = _STEP

    def step(self, match: Match, line: int, time: float | None) -> Step:
        step, loss, lr, speed, tokens, total = match.groups()
        return Step(
            int(step),
            float(loss),
            learning_rate=float(lr),
            step_time_s=1 / float(speed) if float(speed) > 0 else None,
            tokens_per_second=float(tokens),
            tokens_total=float(total),
            time=time,
            line=line,
        )

    def _validation(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        step, loss, seconds = int(match[1]), float(match[2]), float(match[3])
        return (Validation("loss", loss, step, time, line), Pause("evaluation", step, seconds, time, line))

    def _checkpoint(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        return (Pause("checkpoint", int(match[1]), None, time, line),)

    def _start(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        return (*self.begins("start", line, time), Facts(total_steps=int(match[1])))

    table = (
        (re.compile(rb"Iter (\d{1,9}): Val loss ([^\s,]{1,30}), Val took ([\d.]{1,20})s"), _validation),
        (re.compile(rb"Iter (\d{1,9}): Saved adapter weights to "), _checkpoint),
        (re.compile(rb"Starting training\.\.\., iters: (\d{1,9})$"), _start),
    )
