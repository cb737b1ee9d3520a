"""Infers the step of HF Trainer's lines, which do not print it."""

from __future__ import annotations

from math import isfinite

from training_monitor.parse.format import Match
from training_monitor.parse.values import clock
from training_monitor.state import Stateful

BAR = "from the progress bar"
EPOCH = "from the epoch and the total number of steps"
COUNTED = "counted, in steps of logging_steps"

_ROUND = (1000, 500, 250, 200, 100, 50, 25, 20, 10, 5, 4, 2, 1)  # intervals that people choose
_EPOCH_ERROR = 0.005  # older versions round the epoch to two decimals
_LEAST = 20.0  # seconds: below, a difference of a bar's whole seconds is too coarse
_FINE = 20  # so many times the resolution a difference must be


class StepGuess(Stateful):
    """Where training is, seen from bars, epochs and counted lines."""

    __slots__ = (
        "bar",
        "elapsed",
        "epochs",
        "given_elapsed",
        "has_bar",
        "interval",
        "last",
        "previous",
        "rate",
        "runtime",
        "runtime_at",
        "total",
    )

    def __init__(self) -> None:
        self.total: int | None = None  # steps of the run
        self.epochs: float | None = None
        self.interval: int | None = None  # logging_steps
        self.last = 0  # step given last
        self.previous = 0  # the one before
        self.has_bar = False  # training bars are in this log
        self.bar = 0  # steps done, by the last bar
        self.elapsed = 0.0  # seconds, by the last bar
        self.given_elapsed = 0.0  # the same when the last step was given
        self.rate: float | None = None  # seconds a step, by the last bar
        self.runtime: float | None = None  # train_runtime when a step time was last taken from it
        self.runtime_at = 0  # the step of that line

    def restart(self) -> None:
        """A new process begins."""
        self.last = self.previous = self.bar = 0
        self.elapsed = self.given_elapsed = 0.0
        self.runtime, self.runtime_at = None, 0

    def see(self, bar: Match) -> None:
        """Takes in a bar of training; bars of evaluations and downloads have another total."""
        n, total = int(bar[1]), int(bar[2])
        if self.total is None:
            self.total = total
        if total != self.total:
            return
        if n == 0 and self.bar > 0:
            self.restart()
        self.has_bar = True
        self.bar, self.elapsed = n, clock(bar[3])
        if bar[4] and (speed := float(bar[4])) > 0:
            self.rate = speed if bar[5] == b"s/it" else 1 / speed

    def from_bar(self, bar: Match) -> int | None:
        """The step that `bar`, drawn right behind a dict, tells; None if it is another bar."""
        n = int(bar[1])
        if int(bar[2]) != self.total or n <= self.last:
            return None
        self.see(bar)
        return n

    def now(self) -> int:
        """The step that was reached."""
        return max(self.last, self.bar)

    def next(self, epoch: float | None, bar_step: int | None) -> tuple[int, str]:
        """Step of the next dict and how it was inferred."""
        if bar_step is not None:
            step, how = bar_step, BAR
        elif epoch is not None and self.total and self.epochs and isfinite(epoch):
            step, how = self._by_epoch(epoch * self.total / self.epochs, self.total / self.epochs), EPOCH
        else:
            step, how = self.last + self._stride(), COUNTED
        self.previous, self.last = self.last, step
        return step, how

    def step_time(self, runtime: float | None, resolution: float) -> float | None:
        """Seconds a step since the step before, from the run time if it is logged, else from the bars.

        transformers 5 writes four digits: after three hours they change every ten seconds, so lines are waited for.
        """
        if runtime is None:
            steps, seconds = self.last - self.previous, self.elapsed - self.given_elapsed
            self.given_elapsed = self.elapsed
            return seconds / steps if steps > 0 and seconds >= _LEAST else self.rate
        steps, seconds = self.last - self.runtime_at, runtime - (self.runtime or 0.0)
        is_known = self.runtime is not None or self.previous == 0
        if is_known and 0 <= seconds < _FINE * resolution:
            return None
        self.runtime, self.runtime_at = runtime, self.last
        return seconds / steps if is_known and steps > 0 and seconds > 0 else None

    def _by_epoch(self, estimate: float, steps_per_epoch: float) -> int:
        """The round multiple next to the estimate, if one lies within the rounding of the epoch."""
        error = max(0.5, _EPOCH_ERROR * steps_per_epoch)
        stride = self.interval or next(r for r in _ROUND if r == 1 or abs(estimate - round(estimate / r) * r) <= error)
        step = round(estimate / stride) * stride
        step = step if abs(estimate - step) <= error else round(estimate)
        return max(step, self.last + 1)

    def _stride(self) -> int:
        return self.interval or max(1, self.last - self.previous)
