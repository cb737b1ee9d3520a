"""Follows the newest run in a database of Trackio or MLflow, without ever writing to it or keeping it locked.

Each poll opens the file read-only, asks for rows beyond the last one it knows, and closes it: in rollback mode (MLflow)
a reader that stays would block the training's commits. A database that did not change is not opened.

The run that began last is followed; rows that earlier ones still write are passed over. Lossy cases: a run killed with
-9 stays RUNNING in MLflow for ever and has no state in Trackio, so it ends as stalled; MLflow runs that log without
`step` have all their values at step 0.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from typing import Any
from urllib.parse import quote

from training_monitor.records import Facts, Failure, Finish, Record, SourceStatus, Start
from training_monitor.tail.problem import explain, shown
from training_monitor.tail.records_source import NewRowDecoder
from training_monitor.tail.sqlite_schemas import About, Schema, schema_of

POLL_S = 5.0
ROWS = 5000  # of one poll; the lock is held for some milliseconds
BUSY_S = 0.2  # how long to wait for a writer's lock; the next poll tries again
MAX_RUNS = 10_000  # runs of one database whose ids are remembered
LONGEST = 16 << 20  # bytes of one value
MAX_TEXT = 500  # characters of a failure's text
_MAGIC = b"SQLite format 3\0"


class SqliteSource:
    """A `RecordSource` for one database file, which need not exist yet."""

    def __init__(self, path: str, new_rows: NewRowDecoder, *, poll_s: float = POLL_S) -> None:
        self.kind = "sqlite"
        self.source = path
        self.problem: str | None = None
        self.next_poll_s = poll_s
        self.caught_up = False
        self._poll_s, self._new_rows = poll_s, new_rows
        self._exists = False
        self._size = 0
        self._last_change: float | None = None  # unix seconds
        self._looks: tuple[float | int, ...] = ()  # of the files, when they were last read to their end
        self._errors: dict[str, int] = {}
        self._read = self._parsed = 0
        self._forget()

    def _forget(self) -> None:
        self._rows = self._new_rows()
        self._run: str | None = None
        self._runs: list[str] = []  # all that were there, oldest first
        self._last_row = self._last_alert = 0
        self._told_facts: Facts | None = None
        self._told_state: str | None = None

    def poll(self, now: float) -> list[Record]:
        self.next_poll_s = self._poll_s
        try:
            looks = self._look()
            if looks is None or looks == self._looks:
                return []
            self.problem = None
            with closing(_open(self.source)) as db:
                records, is_all = self._new_records(db)
        except (sqlite3.Error, OSError, ValueError, MemoryError) as error:
            self._failed(error)
            return []
        self._looks = looks if is_all else ()
        self.caught_up = is_all
        if not is_all:
            self.next_poll_s = 0.0
        return records

    def close(self) -> None:
        """Nothing is kept open."""

    def status(self, run: str) -> SourceStatus:
        return SourceStatus(
            source=self.source,
            run=run,
            kind=self.kind,
            up=self._exists and self.problem is None,
            waiting=not self._exists and self.problem is None,
            problem=self.problem,
            size_bytes=self._size if self._exists else None,
            last_change=self._last_change,
            lines_read=self._read,
            lines_parsed=self._parsed,
            parse_errors=dict(self._errors),
        )

    def state(self) -> dict[str, Any]:
        return {
            "run": self._run,
            "runs": list(self._runs),
            "last": [self._last_row, self._last_alert],
            "state": self._told_state,
            "rows": self._rows.state(),
            "counts": [self._read, self._parsed, dict(self._errors)],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError if `state` is not of this version."""
        self._rows.restore(state["rows"])
        self._run, self._runs = state["run"], list(state["runs"])
        self._last_row, self._last_alert = state["last"]
        self._told_state = state["state"]
        self._read, self._parsed, self._errors = state["counts"]

    def _look(self) -> tuple[float | int, ...] | None:
        """Size and time of the database and its log, None if it is not there."""
        looks: list[float | int] = []
        for path in (self.source, f"{self.source}-wal"):
            try:
                now = os.stat(path)
            except FileNotFoundError:
                looks += [0, 0]
            else:
                looks += [now.st_size, now.st_mtime_ns]
        self._exists, self._size = looks[1] != 0, int(looks[0] + looks[2])
        self._last_change = max(looks[1], looks[3]) / 1e9 if self._exists else None
        return tuple(looks) if self._exists and self._size else None

    def _new_records(self, db: sqlite3.Connection) -> tuple[list[Record], bool]:
        """What is new, and whether that is all."""
        schema = schema_of(db)
        if schema is None:
            self.problem = f"{shown(self.source)} is no database of Trackio or MLflow; name another file"
            return [], True
        self.kind = schema.kind
        if schema.newest(db) < self._last_row:  # another database stands in its place
            self._forget()
        logged, is_more = schema.logged(db, self._last_row, ROWS)
        out: list[Record] = []
        batch: list[dict[str, Any]] = []
        for last, run, row in logged:
            if run != self._run and run not in self._runs:
                self._take(batch, out)
                batch = []
                self._begin(run, schema, schema.about(db, run), out)
            if run == self._run:
                batch.append(row)
            self._last_row = last
        self._take(batch, out)
        if self._run is not None and not is_more:
            about = schema.about(db, self._run)
            self._facts(schema, about, out)
            for alert in schema.alerts(db, self._run, self._last_alert):
                self._last_alert = alert.last_id
                out.append(Failure(f"{schema.kind}_alert", alert.text[:MAX_TEXT], fatal=False))
            self._state(about, out)
        return out, not is_more

    def _take(self, batch: list[dict[str, Any]], out: list[Record]) -> None:
        records = self._rows.rows(batch)
        self._read += len(batch)
        self._parsed += min(len(batch), len(records))
        bad = sum(not row for row in batch)
        if bad:
            self._errors["bad_row"] = self._errors.get("bad_row", 0) + bad
        out += records

    def _begin(self, run: str, schema: Schema, about: About, out: list[Record]) -> None:
        self._rows, self._run = self._new_rows(), run
        self._runs = [*self._runs[1 - MAX_RUNS :], run]
        self._last_alert, self._told_facts, self._told_state = 0, None, None
        out.append(Start(about.start))
        self._facts(schema, about, out)

    def _facts(self, schema: Schema, about: About, out: list[Record]) -> None:
        facts = Facts(format=schema.kind, run_id=self._run, name=about.name, flush_s=schema.flush_s)
        facts = facts.merged(self._rows.facts(about.config) or facts)
        if facts != self._told_facts:
            self._told_facts = facts
            out.append(facts)

    def _state(self, about: About, out: list[Record]) -> None:
        if about.state == self._told_state:
            return
        self._told_state = about.state
        if about.state == "finished":
            out.append(Finish())
        elif about.state is not None:
            out.append(Failure(f"run_{about.state}", f"{self.kind} says that the run {WORDS[about.state]}"))

    def _failed(self, error: sqlite3.Error | OSError | ValueError | MemoryError) -> None:
        """A locked database is no problem yet, only a reason to come again."""
        text = str(error) or "it is damaged: it asks for more memory than there is"
        reason = "locked" if "locked" in text else "unreadable"
        self._errors[reason] = self._errors.get(reason, 0) + 1
        if isinstance(error, sqlite3.Error | MemoryError):
            self.problem = f"{shown(self.source)}: {text}; tried again in {self._poll_s:g} s"
        else:
            self.problem = explain(self.source, error)


WORDS = {"failed": "failed", "killed": "was killed"}


def _open(path: str) -> sqlite3.Connection:
    """A connection that can neither write nor create. Raises OSError, sqlite3.Error, ValueError."""
    with open(path, "rb") as file:
        head = file.read(20)
    if not head.startswith(_MAGIC[: len(head)]):
        raise ValueError("is no sqlite database")
    is_wal = head[18:20] == b"\2\2"
    # Without its log nobody writes to a WAL database; opened plainly, the log would be made anew beside it.
    mode = "immutable=1" if is_wal and not os.path.exists(f"{path}-wal") else "mode=ro"
    db = sqlite3.connect(f"file:{quote(os.path.abspath(path))}?{mode}", uri=True, timeout=BUSY_S, isolation_level=None)
    if sys.version_info >= (3, 11):  # before, a damaged length may ask for a gigabyte
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
    db.execute("PRAGMA query_only = 1")
    return db
