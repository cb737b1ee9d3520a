"""One run: takes the records of its sources, feeds detectors and estimators, and tells everything in a `Snapshot`.

The state is a function of the records and of the times at which they came; how they were cut into batches makes no
difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import ne
from typing import Literal, TypeVar

from training_monitor.detect.engine import Engine
from training_monitor.detect.thresholds import Thresholds
from training_monitor.estimate.baseline import Reference
from training_monitor.estimate.estimator import EstimateSettings, Estimator
from training_monitor.parse.markers import KINDS as FAILURE_KINDS
from training_monitor.records import (
    Column,
    Event,
    Facts,
    Failure,
    Finish,
    Interval,
    Pause,
    Record,
    Severity,
    Snapshot,
    Start,
    State,
    Step,
    Steps,
    Validation,
)
from training_monitor.run.goals import Goals
from training_monitor.run.order import Order, StepOrder
from training_monitor.run.snapshot import snapshot_of

#: Events and failures kept of the current run; the counters know them all.
KEEP_EVENTS, KEEP_FAILURES = 300, 20
#: So many step lines after an error line mean that the run lives: block-buffered output prints up to about
#: 51 lines (8 kB) after the traceback that ended it (nanochat, piped without PYTHONUNBUFFERED).
ALIVE_AFTER = 64
#: A run found dead at first sight, for longer than this many seconds, is no news: it pages nobody.
OLD_NEWS_S = 900.0
#: A source that told a step at most this many seconds ago is not overtaken by another one of the same run.
LEAD_S = 60.0
#: Fields of a step whose latest value is shown.
SHOWN = tuple(name for name in Step._fields if name not in ("step", "total_steps", "time", "line"))
T = TypeVar("T")


class Run:
    """One run as it is seen through one or more sources."""

    def __init__(
        self,
        name: str,
        source: str,
        *,
        thresholds: Thresholds | None = None,
        settings: EstimateSettings | None = None,
        goals: Goals | None = None,
    ) -> None:
        self.name, self.source = name, source
        self._thresholds, self._settings = thresholds or Thresholds(), settings or EstimateSettings()
        self.goals = goals or Goals()
        self._source = ""  # of the records being taken
        self._at: float | None = None
        self.runs = 0
        self.event_counts: dict[tuple[str, Severity], int] = {}
        self.failure_counts = dict.fromkeys(FAILURE_KINDS, 0)  # a counter that is born at 1 has no increase
        self.restarts = 0
        self.last_change: float | None = None
        self.leader: str | None = None  # the source that told the newest step
        self.led_at: float | None = None  # unix seconds: when it did
        self.lasts: dict[str, int] = {}  # last step of each source
        self._begin(Facts())

    def _begin(self, facts: Facts) -> None:
        """A new run starts in this source: everything but the counters starts anew."""
        self.engine = Engine(self._thresholds)
        self.estimator = Estimator(self._settings)
        self.order = StepOrder()
        self.final_loss: Interval | None = None  # as estimated when the latest step was …
        self.estimated_at: int | None = None  # … this one
        self.facts = self._of_the_format()
        self.pending: Facts | None = None  # facts of a process that has not made a step yet
        self.shown: dict[str, float | None] = dict.fromkeys(SHOWN)
        self.mfu_source: Literal["logged", "computed"] | None = None
        self.filled: set[str] = set()  # fields that lines of the latest step gave
        self.best_loss: float | None = None
        self.validations: dict[str, Validation] = {}
        self.events: list[Event] = []
        self.failures: list[Failure] = []
        self.crashed_for: int | None = None  # step lines since the last fatal failure
        self.failed_in: tuple[str, float | None] = ("", None)  # source and time of that failure
        self.finished = False
        self.is_old_news = False
        self.last_step_time: float | None = None
        self.learn(facts)

    def _of_the_format(self) -> Facts:
        """What is true of the source whatever run it tells of: the decoder says it once."""
        before: Facts = getattr(self, "facts", Facts())
        kept = {name: getattr(before, name) for name in ("format", "loss_kind", "tokens_scope", "flush_s")}
        return Facts(**kept)

    # -- records in ---------------------------------------------------------------------------------------------------

    def feed(self, records: Sequence[Record], at: float | None = None, source: str = "") -> list[Event]:
        """Takes records of one source in their order; gives the events that they raise.

        `at`: unix seconds when the last of them was written, where that is known (None while catching up).
        """
        events: list[Event] = []
        stepped = False
        self._source, self._at = source, at
        for record in gathered(records):
            if isinstance(record, Steps):
                stepped = True
                events += self._steps(self._unheard(record, source))
            else:
                events += self._other(record, source)
        if at is not None:
            self.last_change = at
            if stepped:
                self.last_step_time = at if self.last_step_time is None else max(at, self.last_step_time)
                self.estimator.wall(at, self.order.last)
        return events

    def heard(self, at: float, size: int) -> None:
        """`size` bytes arrived at unix time `at`: the rhythm of the source."""
        self.last_change = at
        self.engine.heard(at, size)

    def found(self, now: float) -> None:
        """The log was read for the first time: a run that ended long before anybody watched it raises nothing."""
        if self.last_change is not None and now - self.last_change > OLD_NEWS_S:
            self.engine.tick(now)
            self.is_old_news = self.state in ("crashed", "stalled")

    def tick(self, now: float) -> list[Event]:
        """Time passed."""
        if self.state not in ("running", "stalled", "waiting"):
            return []
        return self._keep(self.engine.tick(now) + self.goals.judge(self.engine, self.estimator, self.order.last))

    def end(self) -> list[Event]:
        """Nothing more will come."""
        return self._keep(self.goals.judge(self.engine, self.estimator, self.order.last))

    def _unheard(self, steps: Steps, source: str) -> Steps:
        """Steps that another source of this run has not told yet, cut down to what they add to those it has."""
        before = self.lasts.get(source)
        self.lasts[source] = steps.step[-1]
        if self.leader in (None, source):
            self.leader, self.led_at = source, self._at
            return steps
        newest = self.order.last
        if newest is None or (before is not None and steps.step[0] <= before):
            self.leader = source  # this source goes back: a restart that the other one has not told yet
            return steps
        if steps.step[-1] > newest and not self._is_led():
            self.leader = source
            return steps.where(s >= newest for s in steps.step)
        return steps.where(s == newest for s in steps.step)

    def _is_led(self) -> bool:
        """Whether the leading source told a step just now: steps of another one may be counted otherwise."""
        return self._at is not None and self.led_at is not None and self._at - self.led_at < LEAD_S

    def _steps(self, steps: Steps) -> list[Event]:
        events: list[Event] = []
        i = 0
        while i < len(steps):
            end = self.order.leading(steps.step, i)
            if end > i:
                events += self._next(steps.part(i, end))
                i = end
            else:
                events += self._odd(steps[i])
                i += 1
        return events

    def _odd(self, step: Step) -> list[Event]:
        """A step that does not simply follow the one before it."""
        order = self.order.judge(step.step)
        if order is Order.REPEAT:
            return self._repeat(step)
        if order is Order.NEW_RUN:
            self._begin(self.pending or self.facts)
        elif order is Order.RESUMED:
            self.restarts += 1
            self.learn(self.pending or Facts())
            self.crashed_for = None
            self.engine.resumed(step.step)
            self.estimator.resumed(step.step)
        self.pending = None
        return self._next(Steps.of([step]))

    def _next(self, steps: Steps) -> list[Event]:
        """Rising steps, each for the first time."""
        if self.order.last is None:
            self.runs += 1
        self.order.advance(steps.step)
        last = steps[-1]
        if (total := _newest(steps.total_steps)) is not None and total != self.facts.total_steps:
            self.learn(Facts(total_steps=total))
        self.finished = self.is_old_news = False
        if self.crashed_for is not None:
            self._lives(len(steps), last.step)
        self.filled = {name for name in SHOWN if getattr(last, name) is not None}
        steps = self._with_mfu(steps)
        self._show(steps)
        self.estimator.update(steps)
        return self._keep(self.engine.update(steps))

    def _with_mfu(self, steps: Steps) -> Steps:
        """The same steps with the MFU computed where the log has none and the hardware is known."""
        if None not in steps.mfu_ratio:
            self.mfu_source = "logged"
            return steps
        if self.estimator.mfu_of(steps[-1])[1] != "computed":
            return steps
        self.mfu_source = "computed"
        return replace(steps, mfu_ratio=[self.estimator.mfu_of(s)[0] for s in steps])

    def _repeat(self, step: Step) -> list[Event]:
        """A step told before: of the latest one take what it adds, of an older one (a slower rank) nothing."""
        if step.step != self.order.last:
            return []
        new = {name: v for name in SHOWN if name not in self.filled and (v := getattr(step, name)) is not None}
        if not new:
            return []
        self.filled |= set(new)
        added = Steps.of([Step(step.step, time=step.time, line=step.line, **new)])
        self._show(added)
        self.estimator.update(added)
        return self._keep(self.engine.update(added))

    def _show(self, steps: Steps) -> None:
        """Remembers the newest value of each field, and the lowest loss."""
        for name in SHOWN:
            if (value := _newest(getattr(steps, name))) is not None:
                self.shown[name] = value
        lowest = _lowest(steps)
        if lowest is not None and (self.best_loss is None or lowest < self.best_loss):
            self.best_loss = lowest
        if (at := _newest(steps.time)) is not None:
            self.last_step_time = at

    def _lives(self, n: int, step: int) -> None:
        """Counts step lines after an error line: many of them mean that the run did not die of it.

        Of another source (a SLURM job's .out beside its .err) only what was written later counts.
        """
        source, failed_at = self.failed_in
        if self._source != source and not (self._at and failed_at and self._at > failed_at + 60):
            return
        self.crashed_for = (self.crashed_for or 0) + n
        if self.crashed_for > ALIVE_AFTER:
            self.crashed_for = None
            self.engine.resumed(step)

    def _other(self, record: Record, source: str) -> list[Event]:
        if isinstance(record, Facts):
            self.learn(record)
        elif isinstance(record, Validation):
            step = record.step if record.step is not None else self.order.last
            self.validations[record.metric] = replace(record, step=step)
        elif isinstance(record, Pause):
            self.estimator.pause(record)
        elif isinstance(record, Start):
            if self.leader not in (None, source):
                return []
            self.order.started = True
            if self.order.last is not None:
                self.pending = Facts()
        elif isinstance(record, Failure):
            return self._fail(record)
        elif isinstance(record, Finish) and self.crashed_for is None:
            self.finished = True
            self.engine.finished()
        return []

    def learn(self, facts: Facts) -> None:
        """Facts of a process that has not made a step yet wait for it: they may belong to a new run."""
        if self.pending is not None:
            self.pending = self.pending.merged(facts)
            return
        self.facts = self.facts.merged(facts)
        self.engine.learn(self.facts)
        self.estimator.learn(self.facts)

    def _fail(self, failure: Failure) -> list[Event]:
        self.failure_counts[failure.kind] = self.failure_counts.get(failure.kind, 0) + 1
        if len(self.failures) < KEEP_FAILURES:
            self.failures.append(failure)
        if not failure.fatal:
            if failure.kind == "keyboard_interrupt":  # the user stopped it: an end, not a crash
                self.finished = True
                self.engine.finished()
            return []
        if self.finished or self.crashed_for is not None:
            return []  # after the regular end, or what follows from the first cause
        self.crashed_for, self.failed_in = 0, (self._source, self._at)
        return self._keep(self.engine.failed(failure, self.order.last))

    def _keep(self, events: list[Event]) -> list[Event]:
        for e in events:
            key = (e.kind, e.severity)
            self.event_counts[key] = self.event_counts.get(key, 0) + 1
        if events:
            self.events = (self.events + events)[-KEEP_EVENTS:]
        return events

    # -- snapshot out -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        total, last = self.estimator.total_steps, self.order.last
        if self.crashed_for is not None:
            return "crashed"
        if self.finished or (total is not None and last is not None and last >= total):
            return "finished"
        if "stalled" in self.engine.active():
            return "stalled"
        return "waiting" if last is None else "running"

    def snapshot(self, now: float) -> Snapshot:
        """Everything that is known at unix time `now`."""
        return snapshot_of(self, now)

    def estimate(self) -> None:
        """Estimates the final loss with what is known by now. Takes milliseconds: not for every step."""
        self.estimated_at = self.order.last
        self.final_loss = self.estimator.final_loss(self.goals.reference, before=self.engine.levels().loss_spike_since)

    def as_reference(self) -> Reference:
        """This run as the baseline of another one."""
        return self.estimator.reference(self.name)

    def active(self) -> dict[str, Severity]:
        """Open conditions; a crash stays open although buffered lines may follow it."""
        if self.is_old_news:
            return {}
        active = self.engine.active()
        if self.crashed_for is not None:
            active["crashed"] = Severity.CRITICAL
        return active


def _newest(column: Sequence[T | None]) -> T | None:
    """The last value that is there."""
    if column[-1] is not None or column.count(None) == len(column):
        return column[-1]
    return next(v for v in reversed(column) if v is not None)


def _lowest(steps: Steps) -> float | None:
    """The lowest loss; one beside a hidden NaN is none."""
    own = steps.raw_loss if steps.raw_loss.count(None) < len(steps) else ()
    try:
        if math.isfinite(sum(steps.loss) + sum(own)):  # type: ignore[arg-type]  # no NaN among them, as nearly always
            return min(steps.loss)  # type: ignore[type-var]
    except TypeError:  # None among them
        pass
    both = zip(steps.loss, steps.raw_loss, strict=True)
    return min((loss for loss, raw in both if loss is not None and not _has_nan((loss, raw))), default=None)


def _has_nan(column: Column) -> bool:
    return any(map(ne, column, column))


def gathered(records: Sequence[Record]) -> Iterator[Steps | Record]:
    """The records, single steps that follow each other put together."""
    for kind, group in groupby(records, type):
        if kind is Step:
            yield Steps.of(list(group))  # type: ignore[arg-type]
        else:
            yield from group
