"""A run as values that JSON can carry, and back."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any, TypeVar

from training_monitor.records import Event, Facts, Failure, Severity, Validation
from training_monitor.run.run import Run

#: Attributes that are plain values already.
PLAIN = (
    "runs",
    "restarts",
    "failure_counts",
    "last_change",
    "shown",
    "best_loss",
    "crashed_for",
    "failed_in",
    "finished",
    "is_old_news",
    "last_step_time",
    "leader",
    "led_at",
    "lasts",
    "mfu_source",
)
T = TypeVar("T", Facts, Failure, Validation)


def state_of(run: Run) -> dict[str, Any]:
    """Everything that a run knows."""
    return {
        **{name: getattr(run, name) for name in PLAIN},
        "engine": run.engine.state(),
        "estimator": run.estimator.state(),
        "order": run.order.state(),
        "filled": sorted(run.filled),
        "facts": _pack(run.facts),
        "pending": _pack(run.pending),
        "validations": [_pack(v) for v in run.validations.values()],
        "failures": [_pack(f) for f in run.failures],
        "events": [list(astuple(e)) for e in run.events],
        "event_counts": [[kind, int(severity), n] for (kind, severity), n in run.event_counts.items()],
    }


def restore(run: Run, state: dict[str, Any]) -> None:
    """Puts a fresh run into a saved state. Raises KeyError, TypeError or ValueError if it is not of this version."""
    for name in PLAIN:
        setattr(run, name, state[name])
    run.learn(_unpack(Facts, state["facts"]) or Facts())
    run.engine.restore(state["engine"])
    run.estimator.restore(state["estimator"])
    run.order.restore(state["order"])
    run.filled = set(state["filled"])
    run.pending = _unpack(Facts, state["pending"])
    run.validations = {v.metric: v for row in state["validations"] if (v := _unpack(Validation, row))}
    run.failures = [f for row in state["failures"] if (f := _unpack(Failure, row))]
    run.events = [Event(step, kind, Severity(level), *rest) for step, kind, level, *rest in state["events"]]
    run.event_counts = {(kind, Severity(severity)): n for kind, severity, n in state["event_counts"]}


def _pack(record: Facts | Failure | Validation | None) -> list[Any] | None:
    return None if record is None else list(astuple(record))


def _unpack(kind: type[T], row: list[Any] | None) -> T | None:
    if row is not None and any(isinstance(value, list | dict) for value in row):
        raise TypeError(f"{kind.__name__} of {row}")
    return None if row is None else kind(*row)
