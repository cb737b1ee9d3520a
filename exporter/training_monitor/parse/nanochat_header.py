"""The lines of nanochat's scripts that are no step lines: header, evaluations, checkpoints, samples, end."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

from training_monitor.parse.format import Format, Match, Table, fact, starting_fact
from training_monitor.parse.values import integer
from training_monitor.records import Facts, Finish, Pause, Record, Scope, Validation

BETA = 0.9
FORGOTTEN = 400  # steps after which the average has no debt left: 1 - β^400 is 1

_RESULT = re.compile(rb"([\w@ ]{1,40}): ([^\s,|]+)")
_VALIDATIONS = {b"validation bpb": "bits_per_byte", b"val bpb": "bits_per_byte", b"validation loss": "loss"}
_PRECISIONS = {b"bfloat16": "bf16", b"float16": "fp16", b"float32": "fp32"}


class NanochatLog(Format):
    """What the scripts have in common; recovers a step's own loss from the average that they print."""

    __slots__ = ("average", "is_sampling", "last")

    loss_kind = "moving average (0.9)"
    tokens_scope: ClassVar[Scope | None] = "global"
    first: ClassVar[int] = 0  # number of the first step, whose average starts from nothing

    def __init__(self) -> None:
        super().__init__()
        self.last = -1  # last step
        self.average: float | None = None  # e_t after it; None: unknown or not finite
        self.is_sampling = False

    def own_loss(self, step: int, shown: float) -> float | None:
        """The loss of this step alone, None after a gap, a resume or a NaN; remembers the average."""
        average = shown * (1 - BETA ** (step + 1))
        if step == self.first:
            before: float | None = 0.0
        else:
            before = self.average if step == self.last + 1 else None
        self.last = step
        self.average = average if average - average == 0 else None
        return None if before is None else (average - BETA * before) / (1 - BETA)

    def own_losses(self, steps: Sequence[int], shown: Sequence[float]) -> list[float | None]:
        """The same for several steps: at once where each follows the one before it."""
        first, n = steps[0], len(steps)
        averages = (
            shown if first > FORGOTTEN else [x * (1 - BETA ** (s + 1)) for s, x in zip(steps, shown, strict=True)]
        )
        is_even = first >= self.first and steps == list(range(first, first + n))
        if not is_even or not math.isfinite(sum(averages)):
            return [self.own_loss(s, x) for s, x in zip(steps, shown, strict=True)]
        own = [self.own_loss(first, shown[0])]
        own += [(now - BETA * before) / (1 - BETA) for before, now in pairwise(averages)]
        self.last, self.average = steps[-1], averages[-1]
        return own

    def begins(self, kind: str, number: int, time: float | None) -> list[Record]:
        start = super().begins(kind, number, time)
        if start:
            self.average = None
        return start

    def _evaluation(self, match: Match, number: int, time: float | None) -> Sequence[Record] | None:
        """`Step 00250 | Validation bpb: 2.588527`, `Step 2 | Pass@1: 0.01, Pass@2: 0.02`."""
        step = int(match[1])
        records: list[Record] = []
        for name, value in _RESULT.findall(match[2]):
            key = name.strip().lower()
            metric = _VALIDATIONS.get(key) or key.removesuffix(b" metric").replace(b" ", b"_").decode()
            records.append(Validation(metric, float(value), step, time, number))
        self.is_sampling = False
        return [*records, Pause("evaluation", step, None, time, number)]

    def _script_result(self, match: Match, number: int, time: float | None) -> Sequence[Record] | None:
        """`base_eval.py` and its forerunners: no step."""
        metric = "core" if match[1] == b"CORE metric" else "bits_per_byte"
        return (Validation(metric, float(match[2]), None, time, number),)

    def _sample(self, match: Match, number: int, time: float | None) -> Sequence[Record] | None:
        """The first of the samples; what else the model says is passed over."""
        if self.is_sampling:
            return ()
        self.is_sampling = True
        return (Pause("sampling", None, None, time, number),)

    def _device(self, match: Match, number: int, time: float | None) -> Sequence[Record] | None:
        return self.begins("device type", number, time)

    def _checkpoint(self, match: Match, number: int, time: float | None) -> Sequence[Record] | None:
        return (Pause("checkpoint", int(match[1]), None, time, number),)

    def _finish(self, match: Match, number: int, time: float | None) -> Sequence[Record] | None:
        return (Finish(time, number),)

    table: ClassVar[Table] = (
        (
            re.compile(rb"Step (\d{1,9})(?:/\d{1,9})? \| ((?:[\w@ ]{1,40}: [^\s|]{1,40}(?: \| | |$)){1,50})$"),
            _evaluation,
        ),
        (re.compile(rb"<\|bos\|>"), _sample),
        (re.compile(rb"Autodetected device type: "), _device),
        (re.compile(rb"Saved model parameters to: \S*?model_(\d{1,9})\.pt"), _checkpoint),
        (re.compile(rb"Total training time: [\d.]+m"), _finish),
        (re.compile(rb"(val bpb|CORE metric): (\S+)$"), _script_result),
        starting_fact("world size", rb"Distributed world size: (\d{1,6})$", lambda m: Facts(world_size=int(m[1]))),
        fact(rb"GPU: ([^|]+?) \| Peak FLOPS \(BF16\): (\S+)$", lambda m: _gpu(m[1], float(m[2]))),
        fact(rb"Peak flops undefined for: ([^,]+), MFU", lambda m: _gpu(m[1], math.inf)),
        fact(rb"(?:total +|Number of parameters): ([\d,]+)$", lambda m: Facts(parameters=integer(m[1]))),
        fact(rb"Estimated FLOPs per token: (\S+)$", lambda m: Facts(flops_per_token=float(m[1]))),
        fact(
            rb"(?:Calculated number of (?:iterations from target [\w: .]+|steps)"
            rb"|Using user-provided number of iterations): ([\d,]+)$",
            lambda m: Facts(total_steps=integer(m[1])),
        ),
        fact(rb"Total number of training tokens: ([\d,]+)$", lambda m: Facts(tokens_planned=integer(m[1]))),
        fact(
            rb"Tokens / micro-batch / rank: [\d,]+ x ([\d,]+) = [\d,]+$",
            lambda m: Facts(sequence_length=integer(m[1])),
        ),
        fact(
            rb"Total batch size ([\d,]+) => gradient accumulation steps: [\d,]+$",
            lambda m: Facts(tokens_per_step=integer(m[1])),
        ),
        fact(rb"Resuming optimization from step (\d{1,9})$", lambda m: Facts(resumed_from=int(m[1]))),
        fact(rb"COMPUTE_DTYPE: torch\.(bfloat16|float16|float32)", lambda m: Facts(precision=_PRECISIONS[m[1]])),
        fact(rb"[^\w]{0,5} ?FP8 training enabled", lambda m: Facts(precision="fp8")),
    )


def _gpu(name: bytes, peak: float) -> Facts:
    """The warning names a GPU whose peak is not known."""
    return Facts(gpu=name.decode("utf-8", "replace"), peak_flops=peak if 0 < peak < math.inf else None)
