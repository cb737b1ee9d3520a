"""Sources that have no bytes to tail: databases and services that are asked again and again.

They know rows of names and values. What a name means is known to `parse` only, so whoever builds a source hands it the
way to a `RowDecoder`: `SqliteSource(path, RowReader)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from training_monitor.records import Facts, Record, SourceStatus


class RowDecoder(Protocol):
    """Turns the rows of one run, in their order, into records. `parse.rows.RowReader` is one."""

    def rows(self, rows: Iterable[Mapping[str, Any]]) -> list[Record]: ...

    def facts(self, config: Mapping[str, Any]) -> Facts | None:
        """What a run's configuration says, None if nothing that is used."""
        ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None: ...


class NewRowDecoder(Protocol):
    """Makes a decoder for a run that begins."""

    def __call__(self) -> RowDecoder: ...


class RecordSource(Protocol):
    """One source of records. `poll` raises nothing: what keeps it from reading stands in `problem`.

    Use: call `poll` every `next_poll_s` seconds (0: more is waiting, call again at once), feed what it gives to the
    run, save `state()` together with the run's.
    """

    kind: str  # wandb-cloud, trackio, mlflow, sqlite
    source: str  # path or address, as the user may know it; never holds a secret
    problem: str | None  # one sentence with what to do, None if the last poll went well
    next_poll_s: float
    caught_up: bool  # the last poll reached the end of what there is

    def poll(self, now: float) -> list[Record]:
        """The records that are new at unix time `now`."""
        ...

    def state(self) -> dict[str, Any]:
        """Where reading stopped, as values that JSON can carry."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError if `state` is not of this version."""
        ...

    def status(self, run: str) -> SourceStatus: ...

    def close(self) -> None: ...
