"""HF nanotron, `logging/base.py`: values with three digits and a suffix (`11.5K`)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training_monitor.parse.format import Format, Match, starting_fact
from training_monitor.parse.values import fields, first, number
from training_monitor.records import Facts, Record, Step


class Nanotron(Format):
    """Three significant digits: a loss of 2.3816 reads 2.38."""

    __slots__ = ()

    name = "nanotron"
    title = "nanotron"
    example = (
        "10/17/2025 16:31:56 [INFO|DP=0|PP=0|TP=0]: iteration: 327281 / 378950 | consumed_tokens: 85.8G | "
        "elapsed_time_per_iteration_ms: 11.5K | tokens_per_sec: 22.8K | tokens_per_sec_per_gpu: 11.4K | "
        "global_batch_size: 64 | lm_loss: 2.38 | lr: 1e-05 | model_tflops_per_gpu: 38.3 | grad_norm: 1.25"
    )
    versions = "2023 to 2411b022 (2026-04-07)"
    reads = (
        "iteration, total, lm_loss, lr, grad_norm, time, tokens per second, TFLOPs per GPU, consumed tokens; parameters"
    )
    units = "time: ms; tokens_per_sec: whole job; suffixes K, M, B or G, T"
    limits = "three significant digits; global_batch_size is tokens or sequences, depending on the version: not used"
    tokens_scope = "global"

    def _line(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        found = fields(match.string)
        ms = first(found, b"elapsed_time_per_iteration_ms", b"time_per_iteration_ms")
        record = Step(
            int(match[1]),
            first(found, b"lm_loss", b"loss"),
            None,
            first(found, b"lr"),
            None,
            first(found, b"grad_norm"),
            None,
            ms / 1000 if ms is not None else None,
            first(found, b"tokens_per_sec"),
            first(found, b"consumed_tokens"),
            first(found, b"model_tflops_per_gpu"),
            None,
            int(match[2]),
            time,
            line,
        )
        return (record,)

    steps = ((re.compile(rb"iteration: (\d{1,9}) / (\d{1,9}) \|"), _line),)
    table = (
        starting_fact(
            "parameters",
            rb"Total number of parameters: (\d[\d.]{0,20}[KMBGT]?) ",
            lambda m: Facts(parameters=number(m[1])),
        ),
    )
