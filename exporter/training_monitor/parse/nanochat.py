"""karpathy/nanochat, `scripts/base_train.py`: all six step lines of its history (3a5e0bc 2025-10 to 92d63d4 2026-07).

`loss` is a debiased moving average: d_t = e_t / (1 - β^(t+1)), e_t = β e_(t-1) + (1-β) x_t, β = 0.9. The step's own
loss x_t = (e_t - β e_(t-1)) / (1-β) comes back with an error of about 1e-5 (six decimals are printed).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from training_monitor.parse.format import Match, Texts
from training_monitor.parse.nanochat_header import NanochatLog
from training_monitor.parse.values import Known, floats, grouped, integers, optional
from training_monitor.records import Step, Steps

_STEP = re.compile(
    rb"step (\d{1,9})/(\d{1,9}) \([^)|]*\) \| loss: ([^ ]+) \|(?: grad norm: ([^ ]+) \|)? lrm: ([^ ]+) \| "
    rb"dt: ([^ ]+)ms \| tok/sec: ([^ ]+) \| (?:bf16_)?mfu: ([^ ]+) \|(?: epoch: (\d{1,9})[^|]*\|)? total time: "
)


def _ratio(percent: bytes) -> float | None:
    """The MFU; 0.00 means that the GPU is not known. Raises ValueError."""
    value = float(percent)
    return value / 100 if value > 0 else None


_RATIOS = Known(_ratio)
_SECONDS = Known(lambda milliseconds: float(milliseconds) / 1000)


class Nanochat(NanochatLog):
    """Base training."""

    __slots__ = ()

    name = "nanochat"
    title = "nanochat base_train"
    example = (
        "step 00466/01600 (29.12%) | loss: 5.747233 | lrm: 1.00 | dt: 245.34ms | tok/sec: 4,173 | bf16_mfu: 0.00 | "
        "epoch: 1 pq: 3 rg: 1 | total time: 2.44m | eta: 5.9m"
    )
    versions = "3a5e0bc (2025-10-13) to 92d63d4 (2026-07-03), six variants of the line"
    step_line = _STEP
    reads = (
        "step, total, loss, lrm, grad norm, dt, tok/sec, mfu, epoch; validation bpb, CORE metric; parameters, FLOPs "
        "per token, GPU, peak FLOPS, world size, batch size, sequence length, iterations, resume, checkpoints, "
        "samples, end"
    )
    smoothed = "loss: debiased moving average, β 0.9; the step's own loss is recovered exactly and used for detection"
    units = "mfu: percent without sign; tok/sec: whole job; dt: ms, evaluations not included"
    limits = (
        "lrm multiplies the learning rates and is not one; mfu 0.00 means unknown GPU; before 2955650 (2026-01-17) "
        "mfu is relative to an H100 whatever the GPU; stdout to a pipe arrives in blocks of 8 kB unless "
        "PYTHONUNBUFFERED=1"
    )

    def columns(self, texts: Sequence[Texts], numbers: Sequence[int]) -> Steps | None:
        step_, total, loss_, norm, lrm, dt, tokens, mfu, epoch = texts
        step, loss = list(map(int, step_)), floats(loss_)
        unknown: list[None] = [None] * len(step)
        return Steps(
            step=step,
            loss=loss,
            learning_rate=unknown,
            lr_multiplier=floats(lrm),
            grad_norm=optional(norm),
            mfu_ratio=_RATIOS.column(mfu),
            step_time_s=_SECONDS.column(dt),
            tokens_per_second=grouped(tokens),
            tokens_total=unknown,
            tflops=unknown,
            epoch=optional(epoch),
            total_steps=integers(total),
            time=unknown,
            line=numbers,
            raw_loss=self.own_losses(step, loss),  # after all that may fail: it remembers
        )

    def step(self, match: Match, number: int, time: float | None) -> Step:
        step_, total, loss_, norm, lrm, dt, tokens, mfu, epoch = match.groups()
        step, loss = int(step_), float(loss_)
        return Step(
            step,
            loss,
            self.own_loss(step, loss),
            None,
            float(lrm),
            float(norm) if norm else None,
            _ratio(mfu),
            float(dt) / 1000,
            float(tokens.replace(b",", b"")),
            None,
            None,
            float(epoch) if epoch else None,
            int(total),
            time,
            number,
        )
