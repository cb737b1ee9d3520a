"""One run: takes the records of its sources, feeds detectors and estimators, and tells everything in a `Snapshot`.

The state is a function of the records and of the times at which they came; how they were cut into batches makes no
difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from training_monitor.detect.engine import Engine
from training_monitor.detect.thresholds import Thresholds
from training_monitor.estimate.estimator import EstimateSettings, Estimator, Reference
from training_monitor.records import (
    Event,
    Facts,
    Failure,
    Finish,
    Pause,
    Record,
    Severity,
    Snapshot,
    Start,
    State,
    Step,
    Validation,
)
from training_monitor.run.order import Order, StepOrder
from training_monitor.run.saved import pack, pack_counts, pack_events, unpack, unpack_counts, unpack_events

#: Events and failures kept of the current run; the counters know them all.
KEEP_EVENTS, KEEP_FAILURES = 300, 20
#: So many step lines after an error line mean that the run lives: block-buffered output prints up to about
#: 51 lines (8 kB) after the traceback that ended it (nanochat, piped without PYTHONUNBUFFERED).
ALIVE_AFTER = 64
#: Fields of a step whose latest value is shown.
SHOWN = tuple(name for name in Step._fields if name not in ("step", "total_steps", "time", "line"))


class Run:
    """One run as it is seen through one or more sources."""

    #: What is saved as it is.
    PLAIN = (
        "runs",
        "restarts",
        "failure_counts",
        "last_change",
        "shown",
        "best_loss",
        "crashed_for",
        "finished",
        "last_step_time",
        "leader",
        "lasts",
    )

    def __init__(
        self,
        name: str,
        source: str,
        *,
        thresholds: Thresholds | None = None,
        settings: EstimateSettings | None = None,
        reference: Reference | None = None,
    ) -> None:
        self.name, self.source = name, source
        self._thresholds, self._settings, self._reference = (
            thresholds or Thresholds(),
            settings or EstimateSettings(),
            reference,
        )
        self.runs = 0
        self.event_counts: dict[tuple[str, Severity], int] = {}
        self.failure_counts: dict[str, int] = {}
        self.restarts = 0
        self.last_change: float | None = None
        self.leader: str | None = None  # the source that told the newest step
        self.lasts: dict[str, int] = {}  # last step of each source
        self._begin(Facts())

    def _begin(self, facts: Facts) -> None:
        """A new run starts in this source: everything but the counters starts anew."""
        self.engine = Engine(self._thresholds)
        self.estimator = Estimator(self._settings)
        self.order = StepOrder()
        self.facts = Facts()
        self.pending: Facts | None = None  # facts of a process that has not made a step yet
        self.shown: dict[str, float | None] = dict.fromkeys(SHOWN)
        self.filled: set[str] = set()  # fields that lines of the latest step gave
        self.best_loss: float | None = None
        self.validations: dict[str, Validation] = {}
        self.events: list[Event] = []
        self.failures: list[Failure] = []
        self.crashed_for: int | None = None  # step lines since the last fatal failure
        self.finished = False
        self.last_step_time: float | None = None
        self._learn(facts)

    # -- records in ---------------------------------------------------------------------------------------------------

    def feed(self, records: Sequence[Record], at: float | None = None, source: str = "") -> list[Event]:
        """Takes records of one source in their order; gives the events that they raise.

        `at`: unix seconds when the last of them was written, where that is known (None while catching up).
        """
        events: list[Event] = []
        stepped = False
        for is_step, group in groupby(records, _is_step):
            if is_step:
                stepped = True
                events += self._steps(self._unheard(list(group), source))  # type: ignore[arg-type]
            else:
                for record in group:
                    events += self._other(record, source)
        if at is not None:
            self.last_change = at
            if stepped:
                self.last_step_time = at if self.last_step_time is None else max(at, self.last_step_time)
                self.estimator.wall(at, self.order.last)
        return self._keep(events)

    def heard(self, at: float, size: int) -> None:
        """`size` bytes arrived at unix time `at`: the rhythm of the source."""
        self.last_change = at
        self.engine.heard(at, size)

    def tick(self, now: float) -> list[Event]:
        """Time passed."""
        return self._keep(self.engine.tick(now)) if self.state in ("running", "stalled", "waiting") else []

    def _unheard(self, steps: list[Step], source: str) -> list[Step]:
        """Steps that another source of this run has not told yet, cut down to what they add to those it has."""
        before = self.lasts.get(source)
        self.lasts[source] = steps[-1].step
        if self.leader in (None, source):
            self.leader = source
            return steps
        newest = self.order.last
        if newest is None or (before is not None and steps[0].step <= before):
            self.leader = source  # this source goes back: a restart that the other one has not told yet
            return steps
        if steps[-1].step > newest:
            self.leader = source
        return [s for s in steps if s.step >= newest]

    def _steps(self, steps: list[Step]) -> list[Event]:
        events: list[Event] = []
        i = 0
        while i < len(steps):
            end = self.order.leading(steps, i)
            if end > i:
                events += self._next(steps[i:end] if i or end < len(steps) else steps)
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
            self._learn(self.pending or Facts())
            self.crashed_for = None
            self.engine.resumed(step.step)
            self.estimator.resumed(step.step)
        self.pending = None
        return self._next([step])

    def _next(self, steps: Sequence[Step]) -> list[Event]:
        """Rising steps, each for the first time."""
        if self.order.last is None:
            self.runs += 1
        self.order.advance(steps)
        last = steps[-1]
        if last.total_steps is not None and last.total_steps != self.facts.total_steps:
            self._learn(Facts(total_steps=last.total_steps))
        self.finished = False
        if self.crashed_for is not None:
            self._lives(len(steps), last.step)
        self.filled = {name for name in SHOWN if getattr(last, name) is not None}
        self._show(steps)
        self.estimator.update(steps)
        return self.engine.update(steps)

    def _repeat(self, step: Step) -> list[Event]:
        """A step told before: of the latest one take what it adds, of an older one (a slower rank) nothing."""
        if step.step != self.order.last:
            return []
        new = {name: v for name in SHOWN if name not in self.filled and (v := getattr(step, name)) is not None}
        if not new:
            return []
        self.filled |= set(new)
        added = [Step(step.step, time=step.time, line=step.line, **new)]
        self._show(added)
        self.estimator.update(added)
        return self.engine.update(added)

    def _show(self, steps: Sequence[Step]) -> None:
        """Remembers the newest value of each field, and the lowest loss."""
        shown, last = self.shown, steps[-1]
        for name in SHOWN:
            value = getattr(last, name)
            if value is None and len(steps) > 1:
                value = next((v for s in reversed(steps) if (v := getattr(s, name)) is not None), None)
            if value is not None:
                shown[name] = value
        best = lowest = math.inf if self.best_loss is None else self.best_loss
        for s in steps:
            loss = s[1]
            if loss is not None and loss < lowest:
                lowest = loss
        if lowest < best:
            self.best_loss = lowest
        if last.time is not None:
            self.last_step_time = last.time

    def _lives(self, n: int, step: int) -> None:
        """Counts step lines after an error line: many of them mean that the run did not die of it."""
        self.crashed_for = (self.crashed_for or 0) + n
        if self.crashed_for > ALIVE_AFTER:
            self.crashed_for = None
            self.engine.resumed(step)

    def _other(self, record: Record, source: str) -> list[Event]:
        if isinstance(record, Facts):
            self._learn(record)
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

    def _learn(self, facts: Facts) -> None:
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
        self.crashed_for = 0
        return self.engine.failed(failure, self.order.last)

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
        total, last = self.facts.total_steps, self.order.last
        if self.crashed_for is not None:
            return "crashed"
        if self.finished or (total is not None and last is not None and last >= total):
            return "finished"
        if "stalled" in self.engine.active():
            return "stalled"
        return "waiting" if last is None else "running"

    def snapshot(self, now: float) -> Snapshot:
        """Everything that is known at unix time `now`."""
        shown, order, estimator = self.shown, self.order, self.estimator
        total = self.facts.total_steps
        mfu, mfu_source = estimator.mfu(shown["mfu_ratio"], shown["tokens_per_second"], shown["tflops"])
        return Snapshot(
            run=self.name,
            source=self.source,
            state=self.state,
            facts=self.facts,
            runs=self.runs,
            restarts=self.restarts,
            step=order.last,
            first_step=order.first,
            steps_seen=order.steps_seen,
            total_steps=total,
            progress_ratio=min(1.0, order.last / total) if total and order.last is not None else None,
            **{name: shown[name] for name in SHOWN if name not in ("mfu_ratio", "tflops")},  # type: ignore[arg-type]
            best_loss=self.best_loss,
            validations=dict(self.validations),
            mfu_ratio=mfu,
            mfu_source=mfu_source,
            tokens_scope=self.facts.tokens_scope,
            levels=self.engine.levels(),
            events=tuple(self.events),
            event_counts=dict(self.event_counts),
            active=self._active(),
            failures=tuple(self.failures),
            failure_counts=dict(self.failure_counts),
            last_step_time=self.last_step_time,
            last_change=self.last_change,
        )

    def _active(self) -> dict[str, Severity]:
        """Open conditions; a crash stays open although buffered lines may follow it."""
        active = self.engine.active()
        if self.crashed_for is not None:
            active["crashed"] = Severity.CRITICAL
        return active

    # -- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything, as values that JSON can carry."""
        return {
            **{name: getattr(self, name) for name in self.PLAIN},
            "engine": self.engine.state(),
            "estimator": self.estimator.state(),
            "order": self.order.state(),
            "filled": sorted(self.filled),
            "facts": pack(self.facts),
            "pending": pack(self.pending),
            "validations": [pack(v) for v in self.validations.values()],
            "failures": [pack(f) for f in self.failures],
            "events": pack_events(self.events),
            "event_counts": pack_counts(self.event_counts),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a saved state. Raises KeyError, TypeError or ValueError if it is not one of this version."""
        for name in self.PLAIN:
            setattr(self, name, state[name])
        self._learn(unpack(Facts, state["facts"]) or Facts())
        self.engine.restore(state["engine"])
        self.estimator.restore(state["estimator"])
        self.order.restore(state["order"])
        self.filled = set(state["filled"])
        self.pending = unpack(Facts, state["pending"])
        self.validations = {v.metric: v for row in state["validations"] if (v := unpack(Validation, row))}
        self.failures = [f for row in state["failures"] if (f := unpack(Failure, row))]
        self.events = unpack_events(state["events"])
        self.event_counts = unpack_counts(state["event_counts"])


def _is_step(record: Record) -> bool:
    return type(record) is Step
