"""What every detector of one run promises, and what they share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias, cast

from training_monitor.records import Column, Event, Facts, Severity, Step, Steps
from training_monitor.state import Stateful

#: Position in the batch, and the event that happened there.
Found: TypeAlias = tuple[int, Event]


class Ten(NamedTuple):
    """The mean of ten losses in a row, single outliers clipped, in log loss."""

    at: int  # position of the last one in the batch
    mean: float
    clipped: int  # points that were clipped
    sigma: float  # noise of a point, so that the mean of n points has sigma / sqrt(n); infinite while unknown


class Stretch(NamedTuple):
    """Scores `start` to before `end`, which were compared with the same level."""

    start: int
    end: int
    level: float  # expected log loss
    sigma: float  # noise of a log loss
    highest: float  # z
    memory: float  # standard error of a mean over that of white noise: above 1 where the log is smoothed


class Scores(NamedTuple):
    """The losses of a batch against their own recent level, one entry for each finite positive loss.

    `y` is the log of the loss, and `z` is (y - level) / sigma. While the level is still being learned z is 0. Each ten
    points give a mean.
    """

    at: Sequence[int]  # position in the batch
    y: list[float]
    z: list[float]
    stretches: list[Stretch]
    tens: list[Ten]


class Condition(Stateful):
    """An anomaly that opens, rises and closes: it closes after `quiet` points in a row at level 0."""

    __slots__ = ("calm", "level", "quiet")
    constants = ("quiet",)

    def __init__(self, quiet: int) -> None:
        self.quiet = quiet
        self.level = 0
        self.calm = 0

    def rises(self, level: int) -> bool:
        """Takes the level of one point; True if the condition opens or gets worse here."""
        if level:
            self.calm = 0
            if level > self.level:
                self.level = level
                return True
        elif self.level:
            self.calm += 1
            if self.calm >= self.quiet:
                self.close()
        return False

    def close(self) -> None:
        self.level = self.calm = 0


class Detector(Stateful):
    """Finds one kind of anomaly (or a few that belong together) in one run.

    Pure and bounded: no clock, no I/O, no input raises. Batches hold increasing steps; the events do not depend on how
    the steps were split into batches. `quiet` says for each kind after how many calm points it closes.
    """

    __slots__ = ("conditions",)

    def __init__(self, **quiet: int) -> None:
        self.conditions = {kind: Condition(points) for kind, points in quiet.items()}

    def learn(self, facts: Facts) -> None:
        """Takes what header lines say."""

    def update(self, steps: Steps, scores: Scores) -> list[Found]:
        """The events of these steps. `scores` are of the same steps."""
        raise NotImplementedError

    def resumed(self) -> None:
        """The run goes on in a new process or from an older step."""

    def finished(self) -> None:
        """Closes what is open."""
        for condition in self.conditions.values():
            condition.close()

    def levels(self) -> dict[str, float | None]:
        """The fields of `Levels` that this detector knows."""
        return {}

    def active(self) -> dict[str, Severity]:
        """The open conditions."""
        return {kind: Severity(c.level) for kind, c in self.conditions.items() if c.level}


def own_loss(step: Step) -> float | None:
    """The step's own loss, nats per token: recovered where the log smooths it."""
    return step.loss if step.raw_loss is None else step.raw_loss


def positive(column: Column) -> tuple[Sequence[int], Sequence[float]]:
    """The finite values above zero, behind their positions."""
    missing = column.count(None)
    if missing == len(column):
        return (), ()
    values = cast("Sequence[float]", column)
    if not missing and min(values) > 0.0 and math.isfinite(sum(values)):
        return range(len(values)), values
    found = [(i, v) for i, v in enumerate(column) if v is not None and 0.0 < v < math.inf]
    return [i for i, _ in found], [v for _, v in found]


def event(
    step: Step, kind: str, level: int, message: str, *, value: float | None, expected: float | None = None
) -> Event:
    """An event at this step."""
    return Event(step.step, kind, Severity(level), value, expected, message, step.time)
