"""EleutherAI/gpt-neox, `megatron/logging.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training_monitor.parse.format import Match, fact
from training_monitor.parse.megatron import Megatron
from training_monitor.parse.values import fields, number
from training_monitor.records import Facts, Pause, Record, Step, Validation


class GptNeox(Megatron):
    """Megatron's line with samples/sec in front, `lm_loss`, and FLOPS with a glued unit."""

    __slots__ = ()

    name = "gpt-neox"
    title = "gpt-neox"
    example = (
        "samples/sec: 861.537 | iteration       25/    3072 | elapsed time per iteration (ms): 594.3 | learning rate: "
        "8.333E-05 | approx flops per GPU: 55.5TFLOPS | lm_loss: 9.137893E+00 | loss scale: 4096.0 | number of skipped "
        "iterations:   0 | number of nan iterations:   0 |"
    )
    versions = "2021 to ea7aefd8 (2026-05)"
    reads = (
        "iteration, total, lm_loss, learning rate, time, FLOPS per GPU, MFU; validation loss; world size, resume, end"
    )
    units = "time: ms, evaluation and checkpoint included; MFU: percent, only with peak_theoretical_tflops"
    limits = "no gradient norm, no tokens per second; a missing loss is NaN unless all iterations were skipped"
    tokens_scope = None

    def _neox(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        flops = fields(match.string).get(b"approx flops per GPU")
        step, *others = self._line(match, line, time)
        if flops and isinstance(step, Step):
            step = step._replace(tflops=number(flops.removesuffix(b"FLOPS")) / 1e12)
        return (step, *others)

    def _results(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        step = int(match[1]) if match[1] else None
        return (Validation("loss", float(match[2]), step, time, line), Pause("evaluation", step, None, time, line))

    steps = ((re.compile(rb" *samples/sec: \S+ \| iteration +(\d{1,9})/ *(\d{1,9}) \|"), _neox),)
    table = (
        (re.compile(rb"validation results at (?:iteration (\d{1,9})|[^|]{1,80}) \| lm_loss value: (\S+)"), _results),
        fact(rb".{0,80}using world size: (\d{1,7}) and model-parallel", lambda m: Facts(world_size=int(m[1]))),
        *Megatron.table[1:],
    )
