"""MosaicML composer and llm-foundry, `composer/loggers/console_logger.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training_monitor.parse.blocks import BlockFormat
from training_monitor.parse.format import Match, starting_fact
from training_monitor.parse.values import number
from training_monitor.records import Facts, Record, Validation

_METRICS = {b"CrossEntropy": "loss", b"Perplexity": "perplexity", b"ccuracy": "accuracy"}


class Composer(BlockFormat):
    """The header counts batches from 1, `time/batch` inside the block from 0."""

    __slots__ = ("head", "length", "reached", "sequences")

    name = "composer"
    title = "composer, llm-foundry"
    example = "[batch=19/100]:\n\t Train loss/train/total: 8.9792\n\t Train throughput/device/mfu: 0.4839"
    versions = "2022 to composer 0.32.1, llm-foundry 8c8dd48f7"
    reads = (
        "batch, total, loss/train/total, lr, throughput/tokens_per_sec, throughput/device/mfu and flops_per_sec, grad "
        "norm of the optimizer monitor; eval cross entropy, perplexity, accuracy; batch, devices, parameters"
    )
    units = "mfu: ratio; tokens_per_sec: whole job; flops_per_sec: per device"
    limits = "each block is given when the next begins; lr is printed with four decimals; the console is stderr"
    tokens_scope = "global"

    def __init__(self) -> None:
        super().__init__()
        self.head = ""  # of the open block
        self.reached: int | None = None  # of the last header that told it
        self.length: int | None = None  # tokens of a sequence
        self.sequences: int | None = None  # of a global batch

    def _head(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        head, name, value = match.groups()
        records: Sequence[Record] = ()
        if head.decode() != self.head or not self.block:
            self.head = head.decode()
            records = self.open(self._counters(head), line, time)
        if name:
            self.add(name, number(value))
        return records

    def _counters(self, head: bytes) -> dict[str, float]:
        """A batch beside an epoch counts within the epoch: the block's own `time/batch` tells the step."""
        values: dict[str, float] = {}
        for name, n, total in re.findall(rb"(\w{1,20})=(\d{1,12})(?:/(\d{1,12}))?", head):
            if name == b"epoch":
                values["epoch"] = float(n)
            elif name == b"batch" and "epoch" not in values:
                self.reached = int(n)
                values["step"] = float(n)
                if total:
                    values["total_steps"] = float(total)
        return values or {"epoch": 0.0}

    def _train(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        name, value = match[1], number(match[2])
        if name == b"time/batch" and self.block and "step" not in self.block:
            self.reached = int(value) + 1
            self.block["step"] = value + 1
        if name.startswith(b"lr-") and value == 0:
            return ()  # rounded to four decimals
        return self.add(name, value)

    def _eval(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        metric = next((metric for text, metric in _METRICS.items() if match[1].endswith(text)), None)
        return (Validation(metric, number(match[2]), self.reached, time, line),) if metric else ()

    def _batch(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        start = self.begins(match[1].decode(), line, time)
        if match[1] == b"max_seq_len":
            self.length = int(match[2])
        else:
            self.sequences = int(match[2])
        tokens = self.length * self.sequences if self.length and self.sequences else None
        return (*start, Facts(sequence_length=self.length, tokens_per_step=tokens))

    def _start(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        return (*self.close(), *self.begins("start", line, time))

    table = (
        (
            re.compile(
                rb"((?:\[(?:epoch|batch|token|sample|iteration)=\d{1,12}(?:/\d{1,12})?\]){1,4}):"
                rb"(?: (?:Train )?([\w/.\-]{1,120}): (\S{1,40}))?$"
            ),
            _head,
        ),
        (re.compile(rb"Train ([\w/.\-]{1,120}): (-?\d[\d.]{0,40}|-?nan|-?inf)$"), _train),
        (re.compile(rb"Eval ([\w/.\-]{1,120}): (-?\d[\d.]{0,40}|-?nan|-?inf)$"), _eval),
        (re.compile(rb"Starting training\.\.\.$"), _start),
        (re.compile(rb"(max_seq_len|global_train_batch_size): (\d{1,9})$"), _batch),
        starting_fact("max_duration", rb"max_duration: (\d{1,9})ba$", lambda m: Facts(total_steps=int(m[1]))),
        starting_fact("n_gpus", rb"n_gpus: (\d{1,6})$", lambda m: Facts(world_size=int(m[1]))),
        starting_fact("n_params", rb"n_params: (\d{1,15})$", lambda m: Facts(parameters=float(m[1]))),
    )
