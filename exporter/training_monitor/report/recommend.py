"""What to do now, from what is wrong with a run."""

from __future__ import annotations

from training_monitor.records import KINDS, Event, Severity, Snapshot
from training_monitor.report.advice import advice_for

ALL_WELL = "Training proceeding normally"


def issues(snapshot: Snapshot) -> list[Event]:
    """The worst event of each kind that was more than a notice, in triage order."""
    worst: dict[str, Event] = {}
    for event in snapshot.events:
        if event.severity > Severity.NOTICE and event.severity >= worst.get(event.kind, event).severity:
            worst[event.kind] = event
    return sorted(worst.values(), key=lambda e: KINDS.index(e.kind))


def recommendations(snapshot: Snapshot) -> list[str]:
    """Imperative sentences, most urgent first; one sentence where nothing is wrong."""
    found: dict[str, None] = {}
    failure = next((f.kind for f in snapshot.failures if f.fatal), None)
    for event in issues(snapshot):
        for action in advice_for(event.kind, failure if event.kind == "crashed" else None).actions:
            found.setdefault(action)
    return list(found) or [f"{ALL_WELL}."]
