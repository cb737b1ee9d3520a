"""A run as values that JSON can carry, and back."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any, TypeVar

from training_monitor.records import Event, Facts, Failure, Severity, Validation

T = TypeVar("T", Facts, Failure, Validation)


def pack_events(events: list[Event]) -> list[list[Any]]:
    return [list(astuple(e)) for e in events]


def unpack_events(rows: list[list[Any]]) -> list[Event]:
    return [Event(step, kind, Severity(level), *rest) for step, kind, level, *rest in rows]


def pack_counts(counts: dict[tuple[str, Severity], int]) -> list[list[Any]]:
    return [[kind, int(severity), n] for (kind, severity), n in counts.items()]


def unpack_counts(rows: list[list[Any]]) -> dict[tuple[str, Severity], int]:
    return {(kind, Severity(severity)): n for kind, severity, n in rows}


def pack(record: Facts | Failure | Validation | None) -> list[Any] | None:
    return None if record is None else list(astuple(record))


def unpack(kind: type[T], row: list[Any] | None) -> T | None:
    return None if row is None else kind(*row)
