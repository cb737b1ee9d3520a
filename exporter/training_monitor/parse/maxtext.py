"""Google MaxText, `common/metric_logger.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training_monitor.parse.format import Format, Match, starting_fact
from training_monitor.records import Facts, Pause, Record, Step, Validation

_STEP = re.compile(
    rb"completed step: (\d{1,9}), seconds: ([\d.]{1,20}), TFLOP/s(?:/device)?: ([\d.]{1,20})"
    rb"(?:, Tokens/s/device: ([\d.]{1,20}))?(?:, total_weights: [\d.]{1,20})?, loss: ([^\s,]{1,30})"
)


class MaxText(Format):
    """The first step's time is that of the dispatch only, far too short."""

    __slots__ = ()

    name = "maxtext"
    title = "MaxText"
    example = (
        "completed step: 1, seconds: 0.631, TFLOP/s/device: 5688.282, Tokens/s/device: 311629.521, total_weights: "
        "1572864, loss: 12.979, lm_loss: 12.979, perplexity: 433358.281"
    )
    versions = "2023 to 000e6d8 (2026)"
    reads = "step, loss, seconds, TFLOP/s, Tokens/s; eval loss; parameters"
    units = "time: s; TFLOP/s and Tokens/s: per device"
    limits = "no total, no learning rate; loss 0.000 with synthetic data"
    tokens_scope = "device"
    step_line = _STEP

    def step(self, match: Match, line: int, time: float | None) -> Step:
        step, seconds, tflops, tokens, loss = match.groups()
        return Step(
            int(step),
            float(loss),
            step_time_s=float(seconds),
            tokens_per_second=float(tokens) if tokens else None,
            tflops=float(tflops),
            time=time,
            line=line,
        )

    def _evaluation(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        step = int(match[1])
        return (Validation("loss", float(match[2]), step, time, line), Pause("evaluation", step, None, time, line))

    table = (
        (
            re.compile(rb"(?i:completed) eval after train step (\d{1,9}), (?:eval_)?loss[=:] ?([\d.]{1,20}|nan|inf)"),
            _evaluation,
        ),
        starting_fact(
            "parameters", rb"number parameters: ([\d.]{1,20}) billion", lambda m: Facts(parameters=float(m[1]) * 1e9)
        ),
    )
