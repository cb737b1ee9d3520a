"""karpathy/nanochat, `scripts/chat_rl.py`: several lines for each step, one for each pass over the examples."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training_monitor.parse.format import Match
from training_monitor.parse.nanochat_header import NanochatLog
from training_monitor.records import Record, Step, Validation

_PASS = re.compile(rb"Step (\d{1,9})/(\d{1,9}) \| Example step \d+ \| Pass \d+ \| loss: (\S+) \| Average reward: \S+$")
_REWARD = re.compile(rb"Step (\d{1,9})/\d{1,9} \| Average reward: (\S+) \| Average sequence length: \S+$")


class NanochatRl(NanochatLog):
    """Reinforcement learning. The loss may be negative."""

    __slots__ = ()

    name = "nanochat-rl"
    title = "nanochat chat_rl"
    example = "Step 12/467 | Example step 3 | Pass 1 | loss: -0.012345 | Average reward: 0.125"
    versions = "3a5e0bc (2025-10-13) to 92d63d4 (2026-07-03)"
    reads = "step, total, loss of each pass; average reward and Pass@k as validations; the header as for nanochat"
    loss_kind = "one pass of several"
    tokens_scope = None
    limits = "no step time, no tokens per second, no MFU in this log"

    step_line = _PASS

    def step(self, match: Match, number: int, time: float | None) -> Step:
        step, total, loss = match.groups()
        return Step(int(step), float(loss), total_steps=int(total), time=time, line=number)

    def _reward(self, match: Match, number: int, time: float | None) -> Sequence[Record] | None:
        return (Validation("reward", float(match[2]), int(match[1]), time, number),)

    table = ((_REWARD, _reward), *NanochatLog.table)
