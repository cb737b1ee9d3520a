"""karpathy/nanochat, `scripts/chat_sft.py` and the `mid_train.py` of 2025: lines of 2026 and of 2025."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training_monitor.parse.format import Match
from training_monitor.parse.nanochat_header import NanochatLog
from training_monitor.records import Record, Step

_STEP = re.compile(
    rb"step (\d{1,9}) \((\S+)%\) \| loss: (\S+) \| lrm: (\S+) \| dt: (\S+)ms \| tok/sec: (\S+) \| (?:bf16_)?mfu: (\S+) "
    rb"\|(?: epoch: (\d{1,9})[^|]*\|)? total time: "
)
_OLD = re.compile(rb"Step (\d{1,9})/(\d{1,9}) \| Training loss: ([^\s|]+)\| lrm: ([^\s|]+)\| num_tokens: [\d,]+")


class NanochatSft(NanochatLog):
    """Supervised fine-tuning and mid-training.

    The average is divided by 1 - β^(step+1) where step counts from 1, one too many: the first values shown are too low
    and rise in a healthy run. The step's own loss is recovered with the same divisor.
    """

    __slots__ = ()

    name = "nanochat-sft"
    title = "nanochat chat_sft and mid_train"
    example = (
        "step 00009 (2.25%) | loss: 5.178561 | lrm: 1.00 | dt: 280.49ms | tok/sec: 3,650 | mfu: 0.00 | epoch: 1 | "
        "total time: 0.00m"
    )
    versions = "3a5e0bc (2025-10-13), line of 2025; 1ddaad1 (2026-01-31) to 92d63d4 (2026-07-03)"
    reads = "step, loss, lrm, dt, tok/sec, mfu, epoch; 2025: total, loss of the step; the rest as for nanochat"
    smoothed = (
        "loss: debiased moving average, β 0.9, recovered as for nanochat (2025: the loss of the last micro-batch)"
    )
    units = "mfu: percent without sign; tok/sec: whole job; dt: ms"
    limits = "no total number of steps since 2026: progress comes from the percentage, too coarse at the start"
    first = 1
    step_line = _STEP

    def step(self, match: Match, number: int, time: float | None) -> Step:
        step_, done, loss_, lrm, dt, tokens, mfu_, epoch = match.groups()
        step, loss, mfu, percent = int(step_), float(loss_), float(mfu_), float(done)
        return Step(
            step,
            loss,
            self.own_loss(step, loss),
            lr_multiplier=float(lrm),
            mfu_ratio=mfu / 100 if mfu > 0 else None,
            step_time_s=float(dt) / 1000,
            tokens_per_second=float(tokens.replace(b",", b"")),
            epoch=float(epoch) if epoch else None,
            total_steps=round((step + 1) * 100 / percent) - 1 if 1 <= percent <= 100 else None,
            time=time,
            line=number,
        )

    def _old_step(self, match: Match, number: int, time: float | None) -> Sequence[Record] | None:
        step, total, loss, lrm = match.groups()
        record = Step(int(step), float(loss), lr_multiplier=float(lrm), total_steps=int(total), time=time, line=number)
        return (record,)

    table = ((_OLD, _old_step), *NanochatLog.table)
