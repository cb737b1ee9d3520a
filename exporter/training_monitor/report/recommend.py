"""What is wrong with a run, and what to do about it."""

from __future__ import annotations

from training_monitor.records import KINDS, Event, Severity, Snapshot, State
from training_monitor.report.advice import Advice, advice_for

#: What a run without issues is told, by its state.
ALL_WELL: dict[State, str] = {
    "waiting": "Waiting for the first step.",
    "running": "Training proceeding normally.",
    "finished": "Training finished normally.",
    "stalled": "The log ended long ago; start the run again if it should go on.",
    "crashed": "The log ended long ago with an error; resume from the latest checkpoint if it should go on.",
}


def issues(snapshot: Snapshot) -> list[Event]:
    """The worst event of each kind that was more than a notice: open conditions first, then in triage order."""
    worst: dict[str, Event] = {}
    for event in snapshot.events:
        if event.severity > Severity.NOTICE and event.severity >= worst.get(event.kind, event).severity:
            worst[event.kind] = event
    return sorted(worst.values(), key=lambda e: (e.kind not in snapshot.active, _triage(e.kind)))


def advised(snapshot: Snapshot) -> list[tuple[Event, Advice]]:
    """The issues, each with its advice; of the same advice only the first."""
    failure = next((f.kind for f in snapshot.failures if f.fatal), None)
    found: dict[Advice, Event] = {}
    for event in issues(snapshot):
        found.setdefault(advice_for(event.kind, failure), event)
    return [(event, advice) for advice, event in found.items()]


def recommendations(snapshot: Snapshot) -> list[str]:
    """Imperative sentences, most urgent first; one sentence where nothing is wrong."""
    found: dict[str, None] = {}
    for _, advice in advised(snapshot):
        found.update(dict.fromkeys(advice.actions))
    return list(found) or [ALL_WELL[snapshot.state]]


def _triage(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)
