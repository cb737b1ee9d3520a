"""pytorch/torchtitan, `components/metrics.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training_monitor.parse.format import Format, Match, fact
from training_monitor.parse.values import integer, number, percent
from training_monitor.records import Facts, Finish, Pause, Record, Step, Validation

_STEP = re.compile(
    rb"step: {1,8}(\d{1,9}) {1,4}(?:current )?loss: {1,8}(\S+)(?: {1,4}grad_norm: {1,8}(\S+))? {1,4}memory: {1,8}\S+"
    rb"(?: {1,4}(?:tps|wps): {1,8}([\d,.]+))?(?: {1,4}tflops: {1,8}([\d,.]+))?(?: {1,4}mfu: {1,8}(\S+))?"
)
NO_LOSS = -1.0  # printed by the ranks of a pipeline that do not have the loss (trainer.py)


class Torchtitan(Format):
    """The line has no total, no learning rate and no step time."""

    __slots__ = ()

    name = "torchtitan"
    title = "torchtitan"
    example = (
        "[rank0]:[titan] 2026-05-20 02:23:00,282 - root - INFO - step:  3  loss: 15.82324  grad_norm: 26.2500  "
        "memory: 169.10GiB(94.81%)  tps: 9,893  tflops: 833.58  mfu: 37.05%"
    )
    versions = "2024-01 (`current loss`, `wps`) to b5bcd76c6 (2026-08-21)"
    reads = (
        "step, loss, grad_norm, tps, tflops, mfu; validation loss; GPU, peak FLOPS, parameters, sequence length, "
        "batch, devices, total steps, resume, end"
    )
    units = "tps: per device; tflops: per device; mfu: percent, N/A under fp8"
    limits = (
        "loss -1.0 (ranks of a pipeline without the loss) counts as not logged; beside mfu N/A the tflops are not used "
        "either, because the peak is not known"
    )
    tokens_scope = "device"
    step_line = _STEP

    def step(self, match: Match, number_: int, time: float | None) -> Step:
        step, loss_, norm, tokens, tflops, mfu = match.groups()
        loss = float(loss_)
        return Step(
            int(step),
            loss if loss != NO_LOSS else None,
            grad_norm=float(norm) if norm else None,
            mfu_ratio=percent(mfu) if mfu else None,
            tokens_per_second=number(tokens) if tokens else None,
            tflops=number(tflops) if tflops and mfu != b"N/A" else None,
            time=time,
            line=number_,
        )

    def _validation(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        step = int(match[1])
        return (Validation("loss", float(match[2]), step, time, line), Pause("evaluation", step, None, time, line))

    def _trainer(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        """`Trainer is initialized with local batch size 160, global batch size 1280, …, total steps 10`."""
        batch, length, total = integer(match[1]), integer(match[2]), integer(match[3])
        facts = Facts(total_steps=total, sequence_length=length, tokens_per_step=batch * length)
        return (*self.begins("trainer", line, time), facts)

    def _start(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        step = int(match[1])
        start = self.begins("start", line, time)
        return (*start, Facts(resumed_from=step - 1)) if step > 1 else start

    def _mesh(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        """`Building device mesh with parallelism: pp=1, dp_replicate=1, dp_shard=8, cp=1, tp=1, ep=1`: ep is inside."""
        size = 1
        for name, degree in re.findall(rb"(\w{1,20})=(\d{1,6})", match[1]):
            if name in (b"pp", b"dp_replicate", b"dp_shard", b"cp", b"tp"):
                size *= int(degree)
        return (*self.begins("mesh", line, time), Facts(world_size=size))

    def _finish(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        return (Finish(time, line),)

    def _checkpoint(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        return (Pause("checkpoint", None, None, time, line),)

    table = (
        (re.compile(rb"validate step: {1,8}(\d{1,9}) {1,4}loss: {1,8}(\S+)"), _validation),
        (
            re.compile(
                rb"(?:Trainer is initialized|Training starts at step \d+,) with local batch size \d+, "
                rb"global batch size ([\d,]+),.{0,200}? sequence length ([\d,]+),.{0,80}? total steps ([\d,]+)"
            ),
            _trainer,
        ),
        (re.compile(rb"Training starts at step (\d{1,9})\.?$"), _start),
        (re.compile(rb"Building device mesh with parallelism: (.{1,400})$"), _mesh),
        (re.compile(rb"Training completed$"), _finish),
        (re.compile(rb"Saving the checkpoint|Saving a full checkpoint"), _checkpoint),
        fact(rb"Peak FLOPS used for computing MFU: (\S+)$", lambda m: Facts(peak_flops=float(m[1]) or None)),
        fact(
            rb"(?:CUDA|HIP|XPU) capacity: (.{1,100}?) with [\d.]+GiB",
            lambda m: Facts(gpu=m[1].decode("utf-8", "replace")),
        ),
        # Only some layers are converted, so that no single peak applies: the trainer prints `mfu: N/A`.
        fact(
            rb"(?:Float8|MX\w{0,8}|NVFP4) training active|Converted modules to use .{1,40} quantization for ",
            lambda m: Facts(precision="mixed"),
        ),
        fact(rb"Model .{1,100} size: ([\d,]+) total parameters", lambda m: Facts(parameters=integer(m[1]))),
    )
