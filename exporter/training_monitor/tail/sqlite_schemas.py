"""What Trackio and MLflow keep in their databases, as rows of names and values.

Trackio 0.43 (trackio/sqlite_storage.py): `metrics` holds one JSON text per row, non-finite numbers as the strings
"NaN" and "Infinity"; WAL. MLflow 3.17 (store/tracking/dbmodels): `metrics` holds one number per row, a NaN as value 0
with is_nan 1 and infinities as the largest double; rollback journal.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

LARGEST = 1.7976931348623157e308  # what MLflow stores for infinity


class Logged(NamedTuple):
    """Metrics logged together."""

    last_id: int  # of the last database row they come from
    run: str
    row: dict[str, Any]


class About(NamedTuple):
    """What the database says about a run."""

    name: str | None = None
    start: float | None = None  # unix seconds
    config: Mapping[str, Any] = {}
    state: str | None = None  # finished, failed, killed; None: running, or not known


class Alert(NamedTuple):
    """Something the training code wanted to be told."""

    last_id: int
    text: str


class Schema(Protocol):
    """How to read one kind of database. Every method runs short queries and keeps none open."""

    kind: str
    flush_s: float

    def logged(self, db: sqlite3.Connection, after: int, limit: int) -> tuple[list[Logged], bool]:
        """What was logged after row `after`, and whether there may be more."""
        ...

    def newest(self, db: sqlite3.Connection) -> int:
        """The highest row there is, 0 if none."""
        ...

    def about(self, db: sqlite3.Connection, run: str) -> About: ...

    def alerts(self, db: sqlite3.Connection, run: str, after: int) -> list[Alert]: ...


def schema_of(db: sqlite3.Connection) -> Schema | None:
    """The schema of a database, None if it is none of these."""
    columns = {row[1] for row in db.execute("PRAGMA table_info(metrics)")}
    if {"id", "timestamp", "run_name", "step", "metrics"} <= columns:
        return Trackio("run_id" if "run_id" in columns else "run_name")
    if {"key", "value", "timestamp", "run_uuid", "step", "is_nan"} <= columns:
        return Mlflow()
    return None


class Trackio:
    """Before run ids there were names only."""

    kind = "trackio"
    flush_s = 1.0  # measured: at most 0.5 s

    def __init__(self, key: str) -> None:
        self._key = key

    def logged(self, db: sqlite3.Connection, after: int, limit: int) -> tuple[list[Logged], bool]:
        found = db.execute(
            f"SELECT id, {self._key}, step, timestamp, CAST(metrics AS TEXT) FROM metrics "  # noqa: S608  our own words
            "WHERE id > ? ORDER BY id LIMIT ?",
            (after, limit),
        ).fetchall()
        return [Logged(n, str(run), self._row(step, time, text)) for n, run, step, time, text in found], len(
            found
        ) == limit

    @staticmethod
    def _row(step: Any, time: Any, text: str) -> dict[str, Any]:
        with suppress(ValueError, TypeError, RecursionError):
            row = json.loads(text)
            if isinstance(row, dict):
                return {**row, "_step": step, "_timestamp": time}
        return {}

    def newest(self, db: sqlite3.Connection) -> int:
        return int(db.execute("SELECT MAX(id) FROM metrics").fetchone()[0] or 0)

    def about(self, db: sqlite3.Connection, run: str) -> About:
        name = db.execute(f"SELECT run_name FROM metrics WHERE {self._key} = ? LIMIT 1", (run,)).fetchone()  # noqa: S608
        config: Mapping[str, Any] = {}
        with suppress(sqlite3.OperationalError, ValueError, RecursionError):
            query = f"SELECT CAST(config AS TEXT) FROM configs WHERE {self._key} = ?"  # noqa: S608
            if (found := db.execute(query, (run,)).fetchone()) and isinstance(written := json.loads(found[0]), dict):
                config = written
        return About(str(name[0]) if name else None, config=config)

    def alerts(self, db: sqlite3.Connection, run: str, after: int) -> list[Alert]:
        query = f"SELECT id, level, title, text FROM alerts WHERE {self._key} = ? AND id > ? ORDER BY id LIMIT 100"  # noqa: S608
        with suppress(sqlite3.OperationalError):  # older ones have none
            return [Alert(n, ": ".join(str(p) for p in parts if p)) for n, *parts in db.execute(query, (run, after))]
        return []


class Mlflow:
    """The tables of the tracking store."""

    kind = "mlflow"
    flush_s = 0.0

    def logged(self, db: sqlite3.Connection, after: int, limit: int) -> tuple[list[Logged], bool]:
        found = db.execute(
            "SELECT rowid, run_uuid, step, timestamp, key, value, is_nan FROM metrics "
            "WHERE rowid > ? ORDER BY rowid LIMIT ?",
            (after, limit),
        ).fetchall()
        return list(_together(found)), len(found) == limit

    def newest(self, db: sqlite3.Connection) -> int:
        return int(db.execute("SELECT MAX(rowid) FROM metrics").fetchone()[0] or 0)

    def about(self, db: sqlite3.Connection, run: str) -> About:
        found = db.execute("SELECT name, start_time, status FROM runs WHERE run_uuid = ?", (run,)).fetchone()
        name, start, status = found or (None, None, None)
        config = dict(db.execute("SELECT key, value FROM params WHERE run_uuid = ? LIMIT 1000", (run,)).fetchall())
        state = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "killed"}.get(str(status))
        return About(name, start / 1000 if isinstance(start, int | float) else None, config, state)

    def alerts(self, db: sqlite3.Connection, run: str, after: int) -> list[Alert]:
        return []


def _together(found: list[tuple[Any, ...]]) -> Iterator[Logged]:
    """Puts numbers of one run and step into one row; a name that comes again begins the next."""
    row: dict[str, Any] = {}
    place = None
    last = 0
    for n, run, step, time, key, value, is_nan in found:
        if (run, step) != place or key in row:
            if place and row:
                yield Logged(last, str(place[0]), row)
            row, place = {"_step": step, "_timestamp": time}, (run, step)
        row[str(key)] = math.nan if is_nan else _infinite(value)
        last = n
    if place and row:
        yield Logged(last, str(place[0]), row)


def _infinite(value: Any) -> Any:
    if isinstance(value, float) and abs(value) >= LARGEST:
        return math.copysign(math.inf, value)
    return value
