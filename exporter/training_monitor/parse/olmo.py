"""allenai OLMo (`olmo/train.py`) and OLMo-core (`callbacks/console_logger.py`)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training_monitor.parse.blocks import BlockFormat
from training_monitor.parse.format import Match, fact
from training_monitor.parse.values import number
from training_monitor.records import Facts, Finish, Pause, Record


class Olmo(BlockFormat):
    """`[step=…]`, then a `name=value` a line; lines without a step of their own belong to the header before."""

    __slots__ = ()

    name = "olmo"
    title = "OLMo, OLMo-core"
    example = "[step=50/1000,epoch=1,eta=1:02:03]\n    train/CE loss=6.445\n    throughput/device/TPS=258,163"
    versions = "OLMo to 59a53e3f (2025-09-04), OLMo-core to fa6c5014 (2026-06-22)"
    reads = (
        "step, total, epoch, train loss, total grad norm, learning rate (OLMo-core), tokens per second, MFU, FLOP/s, "
        "total tokens; eval losses; checkpoints, end"
    )
    units = "TPS: per device; MFU: percent without sign, of an A100 if the GPU is unknown; suffixes B, T, P, E"
    limits = "each block is given when the next begins; a NaN loss ends the run with an exception (nan_abort)"
    tokens_scope = "device"

    def _head(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        step, total, epoch = match.groups()
        values = {"step": float(step)}
        if total and total != b"???":
            values["total_steps"] = float(total)
        if epoch:
            values["epoch"] = float(epoch)
        return self.open(values, line, time)

    def _value(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        return self.add(match[1], number(match[2])) if self.block else None

    def _finish(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        return (*self.close(), Finish(time, line))

    def _checkpoint(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        return (Pause("checkpoint", int(match[1]), None, time, line),)

    table = (
        (re.compile(rb"\[step=(\d{1,9})(?:/(\d{1,9}|\?\?\?))?(?:,epoch=(\d{1,6}))?(?:,eta=[^\]]{0,40})?\]$"), _head),
        (
            re.compile(rb"([A-Za-z][\w/().% \-]{0,120})=(-?\d[\d.,]{0,40}(?:[eE][-+]?\d+)?[KMBTPE]?|-?nan|-?inf)$"),
            _value,
        ),
        (re.compile(rb"Training complete$"), _finish),
        (re.compile(rb"Checkpoint for step (\d{1,9}) saved successfully"), _checkpoint),
        fact(
            rb"Device: (.{1,80}?), Device peak Flops/s: ([\d.eE+]{1,30})$",
            lambda m: Facts(gpu=m[1].decode("utf-8", "replace"), peak_flops=float(m[2]) or None),
        ),
    )
