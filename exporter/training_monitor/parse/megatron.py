"""NVIDIA/Megatron-LM, `training.py` training_log(), and its DeepSpeed dialects (BigScience, ALCF)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import nan
from typing import ClassVar

from training_monitor.parse.format import Format, Match, Table, fact, starting_fact
from training_monitor.parse.values import fields, first, percent
from training_monitor.records import Facts, Finish, Pause, Record, Scope, Step, Validation

_ITERATION = rb" *iteration(?: *= *| +)(\d{1,9})/ *(\d{1,9}) \|"

_LOSS = (b"lm loss", b"lm-loss", b"loss")
_TGS = (b"tokens per gpu per second tgs", b"tokens per gpu per second (tgs)", b"tokens per gpu per second(tgs)")


class Megatron(Format):
    """Fields between bars. A loss that is NaN is a missing field, because only `loss >= 0` is printed."""

    __slots__ = ("last", "length", "sequences")

    name = "megatron"
    title = "Megatron-LM, Megatron-DeepSpeed"
    example = (
        "iteration       30/    1000 | consumed samples:          120 | elapsed time per iteration (ms): 1376.1 | "
        "learning rate: 1.500E-04 | global batch size:     4 | lm loss: 2.247505E+01 | loss scale: 16384.0 | "
        "grad norm: 16.999 | number of skipped iterations:   1 | number of nan iterations:   0 |"
    )
    versions = "2019 to d98e8a64 (2026-08-22); BigScience 2021-22 (seconds); ALCF 2024-25 (key=value)"
    reads = (
        "iteration, total, lm loss, learning rate, grad norm, time, TFLOP/s per GPU, tokens per GPU and second, "
        "consumed tokens; validation loss; world size, batch, sequence length, checkpoints, resume, end"
    )
    smoothed = "loss: mean over the iterations since the last line"
    units = "time: ms or s, as the field says; tokens/s and TFLOPs: per GPU"
    limits = (
        "a missing loss is NaN unless all iterations were skipped by the loss scaler or the line is cut off; the "
        "gradient norm repeats while iterations are skipped; grad norm 0.000 means not computed"
    )
    loss_kind = "mean of the logged interval"
    tokens_scope: ClassVar[Scope | None] = "device"

    def __init__(self) -> None:
        super().__init__()
        self.last: int | None = None  # iteration of the line before
        self.sequences: int | None = None  # in a global batch
        self.length: int | None = None  # tokens of one

    def _line(self, match: Match, number: int, time: float | None) -> Sequence[Record]:
        line = match.string
        found = fields(line, b"=" if b"=" in match[0] else b":")
        found = {key.replace(b"_", b" ").lower(): value for key, value in found.items()}
        step = int(match[1])
        ms = first(found, b"elapsed time per iteration (ms)", b"elapsed time per iteration ms")
        s = first(found, b"elapsed time per iteration (s)")
        record = Step(
            step,
            self._loss(found, step),
            None,
            first(found, b"learning rate"),
            None,
            first(found, b"grad norm") or None,
            percent(found.get(b"mfu", b"")),
            ms / 1000 if ms is not None else s,
            first(found, *_TGS),
            first(found, b"consumed tokens"),
            first(found, b"throughput per gpu (tflop/s/gpu)", b"tflops", b"[lm]-tflops"),
            None,
            int(match[2]),
            time,
            number,
        )
        self.last = step
        return (record, *self._batch(found))

    def _loss(self, found: dict[bytes, bytes], step: int) -> float | None:
        if any(key in found for key in _LOSS):
            return first(found, *_LOSS)
        skipped = first(found, b"number of skipped iterations")
        if skipped is None or b"number of nan iterations" not in found:
            return None  # cut off
        interval = step - self.last if self.last is not None and step > self.last else max(skipped, 1)
        return nan if skipped < interval else None

    def _batch(self, found: dict[bytes, bytes]) -> Sequence[Record]:
        """The tokens of a step, when they change: the batch may be ramped up."""
        size, length = first(found, b"global batch size"), first(found, b"actual seqlen")
        before = (self.sequences, self.length)
        self.sequences = int(size) if size else self.sequences
        self.length = int(length) if length else self.length
        if (self.sequences, self.length) == before or not self.sequences or not self.length:
            return ()
        return (Facts(tokens_per_step=float(self.sequences * self.length), sequence_length=self.length),)

    def _argument(self, match: Match, number: int, time: float | None) -> Sequence[Record] | None:
        """`  seq_length ................ 2048`, in the list of all arguments."""
        name, value = match[1], int(match[2])
        if name == b"train_iters":
            return (Facts(total_steps=value),)
        if name in (b"world_size", b"global_num_gpus"):
            return (*self.begins("arguments", number, time), Facts(world_size=value))
        key = b"actual seqlen" if name == b"seq_length" else b"global batch size"
        return self._batch({key: match[2]})

    def _validation(self, match: Match, number: int, time: float | None) -> Sequence[Record] | None:
        step = int(match[1]) if match[1] else None
        loss = Validation("loss", float(match[2]), step, time, number)
        return (loss, Pause("evaluation", step, None, time, number))

    def _saved(self, match: Match, number: int, time: float | None) -> Sequence[Record] | None:
        return (Pause("checkpoint", int(match[1]), None, time, number),)

    def _finish(self, match: Match, number: int, time: float | None) -> Sequence[Record] | None:
        return (Finish(time, number),)

    steps: ClassVar[Table] = ((re.compile(_ITERATION), _line),)
    table: ClassVar[Table] = (
        (
            re.compile(rb"validation loss at (?:iteration (\d{1,9})|[^|]{1,80}) \| (?:lm|LM)[ _]loss value: (\S+)"),
            _validation,
        ),
        (re.compile(rb"successfully saved checkpoint (?:at|from) iteration +(\d{1,9})"), _saved),
        (re.compile(rb"\[after training is done\] datetime|\[exiting program at iteration \d+\] datetime"), _finish),
        starting_fact(
            "world size",
            rb"using world size: (\d{1,7})(?:, | and model-parallel size)",
            lambda m: Facts(world_size=int(m[1])),
        ),
        starting_fact("total", rb"setting training iterations to (\d{1,9})$", lambda m: Facts(total_steps=int(m[1]))),
        (
            re.compile(
                rb"(train_iters|seq_length|train_batch_size|global_batch_size|world_size|global_num_gpus) \.{3,60} "
                rb"(\d{1,9})(?:$|\.{3,60}(?:updated|default)$)"
            ),
            _argument,
        ),
        fact(
            rb"successfully loaded checkpoint from .{1,400} at iteration (\d{1,9})$",
            lambda m: Facts(resumed_from=int(m[1]) or None),
        ),
    )
