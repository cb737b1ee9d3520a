"""NVIDIA NeMo 2, `callbacks/progress_printer.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training_monitor.parse.format import Format, Match
from training_monitor.parse.values import fields, first
from training_monitor.records import Record, Step, Validation


class Nemo(Format):
    """`iteration` starts again with each epoch, `global_step` does not."""

    __slots__ = ("validation",)

    name = "nemo"
    title = "NeMo 2"
    example = (
        "Training epoch 0, iteration 120/149 | lr: 3e-05 | consumed_samples: 121 | global_batch_size: 1 | "
        "global_step: 120 | reduced_train_loss: 1.233 | train_step_timing in s: 0.03146 | val_loss: 4.106"
    )
    versions = "01f7dbc (2025)"
    reads = (
        "global_step, total, reduced_train_loss, lr, train_step_timing, TFLOP/s per GPU, epoch; val_loss when it "
        "changes"
    )
    units = "time: s"
    limits = "four significant digits; NeMo 1 (a tqdm bar) is read as key-value"

    def __init__(self) -> None:
        super().__init__()
        self.validation: float | None = None  # repeated on every line

    def _line(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        epoch, iteration, total = (int(g) for g in match.groups())
        found = fields(match.string)
        step = first(found, b"global_step")
        step = int(step) if step is not None and abs(step) < 1e12 else iteration
        record = Step(
            step,
            first(found, b"reduced_train_loss", b"train_loss", b"loss"),
            learning_rate=first(found, b"lr"),
            grad_norm=first(found, b"grad_norm"),
            step_time_s=first(found, b"train_step_timing in s"),
            tflops=first(found, b"tflops_per_sec_per_gpu"),
            epoch=float(epoch),
            total_steps=total if total > step else None,
            time=time,
            line=line,
        )
        validation = first(found, b"val_loss")
        if validation is None or validation == self.validation:
            return (record,)
        self.validation = validation
        return (record, Validation("loss", validation, step, time, line))

    steps = ((re.compile(rb"Training epoch (\d{1,9}), iteration (\d{1,9})/(\d{1,9}) \|"), _line),)
