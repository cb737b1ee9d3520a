"""HF transformers `Trainer` (TRL, axolotl, LLaMA-Factory): the dict that it prints every `logging_steps`.

The line has no step. In order of trust it comes from
1. the progress bar that is drawn anew right behind the dict (the bar before it may be older),
2. the epoch, where the header told the epochs and the total number of steps,
3. counting, in steps of `logging_steps` where the arguments are in the log.
`Facts.step_inferred` says which. A dict is held back until the next line where bars were seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import floor, inf, log10

from training_monitor.parse.format import Format, Match, fact
from training_monitor.parse.hf_steps import StepGuess
from training_monitor.parse.rows import RowReader, plan_of
from training_monitor.parse.values import integer, number
from training_monitor.records import Facts, Finish, Pause, Record

_DICT = re.compile(rb"\{('[^{}]{1,8000})\}")
_ITEM = re.compile(rb"'([^']{1,200})': ?(?:'([^']{0,200})'|([^,'\[\]]{1,200}))")
_BAR = re.compile(
    rb"^ {0,3}\d{1,3}%\|[^|]{0,300}\| *(\d{1,9})/(\d{1,9}) "
    rb"\[([\d:]{1,20})<[^,\]]{1,30}, +([\d.]{1,20})?\??(it/s|s/it)\]"
)
QUOTED_DIGITS = 4  # of a number since transformers 5


class HfTrainer(Format):
    """Numbers are plain until transformers 4.57, quoted since 5.0; NaN and inf are Python's."""

    __slots__ = ("guess", "held", "held_at", "reader", "told")

    name = "hf-trainer"
    title = "HF Trainer, TRL, axolotl, LLaMA-Factory (console)"
    example = "{'loss': 1.1409, 'grad_norm': 2.757542133331299, 'learning_rate': 1.817850637522769e-05, 'epoch': 0.91}"
    versions = "transformers 4.38.0, 4.57.1, 5.0.0, 5.23.0; trl 1.16.0; bars of tqdm"
    reads = (
        "loss, grad_norm, learning_rate, epoch, num_input_tokens_seen, train_tokens_per_second; eval_loss and the "
        "like; total steps, epochs, parameters, resume, checkpoints, end; the step is inferred"
    )
    smoothed = "loss: mean over logging_steps; train_tokens_per_second: mean since the start"
    units = "step time: growth of train_runtime, else from the bar"
    limits = (
        "without bar, header and arguments the step is the number of the line; with logging_nan_inf_filter (default) "
        "a NaN loss is written as 0.0: it is recognised by the gradient norm; a GRPO loss may be 0 or negative"
    )
    loss_kind = "mean of the logged interval"
    tokens_scope = "global"
    has_gate = False

    def __init__(self) -> None:
        super().__init__()
        self.reader = RowReader()
        self.guess = StepGuess()
        self.held: dict[str, float] = {}  # a dict whose step the next line may tell
        self.held_at: list[float | None] = []  # its line number, time and digits
        self.told = ""  # how the step was inferred

    def parse(self, line: bytes, number: int, time: float | None) -> Sequence[Record] | None:
        bar = _BAR.match(line)
        records: list[Record] = []
        if self.held:
            records += self._give(self.guess.from_bar(bar) if bar else None)
        if bar:
            self.guess.see(bar)
        if b"{'" in line and (found := _DICT.search(line)):
            others = self._dict(found, number, time)
        else:
            others = super().parse(line, number, time)
        if others is None and not records:
            return () if bar and self.told and bar.end() == len(line) else None
        return [*records, *(others or ())]

    def end(self) -> Sequence[Record]:
        return self._give(None) if self.held else ()

    def _dict(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        row: dict[str, float] = {}
        digits = 16
        for name, quoted, plain in _ITEM.findall(match[1]):
            try:
                row[name.decode("utf-8", "replace")] = float(quoted or plain)
            except ValueError:
                continue
            if quoted:
                digits = QUOTED_DIGITS
        if "train_runtime" in row and "loss" not in row:
            return (Finish(time, line),)
        if "loss" in row:
            self.held, self.held_at = row, [line, time, digits]
            return () if self.guess.has_bar else self._give(None)
        if any(name.startswith("eval_") for name in row):
            row.pop("epoch", None)
            out = self._row({**row, "step": float(self.guess.now())}, line, time)
            return [*out, Pause("evaluation", self.guess.now(), row.get("eval_runtime"), time, line)]
        return None

    def _give(self, bar_step: int | None) -> list[Record]:
        row, (line, time, digits) = self.held, self.held_at
        self.held = {}
        step, how = self.guess.next(row.get("epoch"), bar_step)
        records: list[Record] = []
        if how != self.told:
            self.told = how
            records.append(Facts(step_inferred=how))
        runtime = row.get("train_runtime")
        seconds = self.guess.step_time(runtime, _resolution(runtime or 1.0, int(digits or 0)))
        values = {"step": float(step), **row}
        if self.guess.total:
            values["total_steps"] = float(self.guess.total)
        if seconds is not None:
            values["step_time_s"] = seconds
        return [*records, *self._row(values, int(line or 0), time)]

    def _row(self, row: dict[str, float], line: int, time: float | None) -> list[Record]:
        out: list[Record] = []
        self.reader.take(plan_of(tuple(row)), list(row.values()), out, line, time)
        return out

    def _begin(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        start = self.begins("training", line, time)
        if start:
            self.guess.restart()
        return start

    def _finish(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        return (Finish(time, line),)

    def _total(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        self.guess.total = integer(match[1])
        return (Facts(total_steps=self.guess.total),)

    def _epochs(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        self.guess.epochs = float(match[1].replace(b",", b""))
        return ()

    def _logging_steps(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        self.guess.interval = int(match[1])
        return ()

    def _resume(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        self.guess.last = self.guess.previous = int(match[1])
        return (Facts(resumed_from=self.guess.last),)

    def _checkpoint(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        return (Pause("checkpoint", int(match[1]), None, time, line),)

    table = (
        (re.compile(rb"\*{5} Running training \*{5}"), _begin),
        (re.compile(rb"Total optimization steps = ([\d,]{1,15})"), _total),
        (re.compile(rb"Num Epochs = ([\d,]{1,15})"), _epochs),
        (re.compile(rb"logging_steps=(\d{1,9}),$"), _logging_steps),
        (re.compile(rb"Continuing training from global step (\d{1,9})"), _resume),
        (re.compile(rb"Training completed\. Do not forget to share your model"), _finish),
        (re.compile(rb"Saving model checkpoint to \S{0,300}?checkpoint-(\d{1,9})\b"), _checkpoint),
        fact(rb"Number of trainable parameters = ([\d,]{1,20})", lambda m: Facts(parameters=number(m[1]))),
    )


def _resolution(value: float, digits: int) -> float:
    """The last of `digits` digits of `value`, or the fourth decimal if that is more."""
    return max(1e-4, 10.0 ** (floor(log10(value)) + 1 - digits)) if 0 < value < inf else 1e-4
