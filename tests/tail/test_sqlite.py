import json
import math
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

import needs
from training_monitor.parse.rows import RowReader
from training_monitor.records import Facts, Failure, Finish, Record, Start, Step, Validation
from training_monitor.tail.sqlite import ROWS, SqliteSource

SHARED = Path(__file__).parents[3] / "shared" / "samples"

#: The tables that are read, as Trackio 0.43 and MLflow 3.17 create them.
TRACKIO = """
PRAGMA journal_mode = WAL;
CREATE TABLE metrics (id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, timestamp TEXT NOT NULL,
    run_name TEXT NOT NULL, step INTEGER NOT NULL, metrics TEXT NOT NULL, log_id TEXT, space_id TEXT);
CREATE TABLE configs (id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, run_name TEXT NOT NULL,
    config TEXT NOT NULL, created_at TEXT NOT NULL, UNIQUE(run_id));
CREATE TABLE alerts (id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, timestamp TEXT NOT NULL,
    run_name TEXT NOT NULL, title TEXT NOT NULL, text TEXT, level TEXT NOT NULL DEFAULT 'warn',
    step INTEGER, alert_id TEXT);
"""
MLFLOW = """
CREATE TABLE runs (run_uuid VARCHAR(32) NOT NULL PRIMARY KEY, name VARCHAR(250), status VARCHAR(9), start_time BIGINT,
    end_time BIGINT);
CREATE TABLE metrics (key VARCHAR(250) NOT NULL, value FLOAT NOT NULL, timestamp BIGINT NOT NULL,
    run_uuid VARCHAR(32) NOT NULL, step BIGINT DEFAULT '0' NOT NULL, is_nan BOOLEAN DEFAULT '0' NOT NULL,
    CONSTRAINT metric_pk PRIMARY KEY (key, timestamp, step, run_uuid, value, is_nan));
CREATE TABLE params (key VARCHAR(250) NOT NULL, value VARCHAR(8000) NOT NULL, run_uuid VARCHAR(32) NOT NULL);
"""


def of(kind: type, records: list[Record]) -> list:
    return [r for r in records if type(r) is kind]


def new(path: Path) -> SqliteSource:
    return SqliteSource(str(path), RowReader)


def database(path: Path, schema: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(schema)
    return db


def log_trackio(db: sqlite3.Connection, run: str, step: int, **metrics: object) -> None:
    db.execute(
        "INSERT INTO metrics (run_id, timestamp, run_name, step, metrics) VALUES (?, ?, ?, ?, ?)",
        (run, "2026-11-22T18:19:39.5+00:00", f"name of {run}", step, json.dumps(metrics).encode()),
    )


def log_mlflow(db: sqlite3.Connection, run: str, step: int, **metrics: float) -> None:
    for key, value in metrics.items():
        stored = (
            0.0 if math.isnan(value) else math.copysign(1.7976931348623157e308, value) if math.isinf(value) else value
        )
        row = (key, stored, 1_795_371_745_684 + step, run, step, math.isnan(value))
        db.execute("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", row)


def test_a_trackio_database_is_followed_row_by_row(tmp_path: Path) -> None:
    db = database(tmp_path / "llm.db", TRACKIO)
    db.execute("INSERT INTO configs VALUES (1, 'a', 'n', ?, '')", (b'{"max_steps": 100, "_Username": "me"}',))
    log_trackio(db, "a", 0, loss="NaN", lr=0.1)
    source = new(tmp_path / "llm.db")
    start, facts, step = source.poll(0.0)
    assert start == Start()
    assert facts == Facts(format="trackio", run_id="a", name="name of a", total_steps=100, flush_s=1.0)
    assert (step.step, math.isnan(step.loss), step.learning_rate, step.time) == (0, True, 0.1, 1795371579.5)
    assert source.poll(1.0) == []
    log_trackio(db, "a", 1, **{"train/loss": "Infinity", "val/loss": 2.5})
    assert source.poll(2.0) == [Step(1, loss=math.inf, time=1795371579.5), Validation("loss", 2.5, 1, 1795371579.5)]
    assert source.status("r").lines_read == 2
    db.close()


def test_nan_in_mlflow_is_no_perfect_loss(tmp_path: Path) -> None:
    db = database(tmp_path / "mlflow.db", MLFLOW)
    db.execute("INSERT INTO runs VALUES ('a', 'tiny', 'RUNNING', 1795371745602, NULL)")
    db.execute("INSERT INTO params VALUES ('max_steps', '300', 'a')")
    for step, loss in enumerate((math.nan, math.inf, 2.5)):
        log_mlflow(db, "a", step, loss=loss, mfu=0.42)
    records = new(tmp_path / "mlflow.db").poll(0.0)
    assert records[:2] == [
        Start(1795371745.602),
        Facts(format="mlflow", run_id="a", name="tiny", total_steps=300, flush_s=0.0),
    ]
    assert (
        repr([(s.step, s.loss, s.mfu_ratio) for s in of(Step, records)])
        == "[(0, nan, 0.42), (1, inf, 0.42), (2, 2.5, 0.42)]"
    )
    db.close()


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("FINISHED", Finish()),
        ("FAILED", Failure("run_failed", "mlflow says that the run failed")),
        ("KILLED", Failure("run_killed", "mlflow says that the run was killed")),
    ],
)
def test_the_state_of_an_mlflow_run_is_told_once(tmp_path: Path, status: str, told: Record) -> None:
    db = database(tmp_path / "mlflow.db", MLFLOW)
    db.execute("INSERT INTO runs VALUES ('a', 'tiny', 'RUNNING', 1795371745602, NULL)")
    log_mlflow(db, "a", 1, loss=2.0)
    source = new(tmp_path / "mlflow.db")
    assert not of(type(told), source.poll(0.0))
    db.execute("UPDATE runs SET status = ?", (status,))
    assert source.poll(1.0) == [told]
    log_mlflow(db, "a", 2, loss=1.9)
    assert [type(r) for r in source.poll(2.0)] == [Step]
    db.close()


def test_a_run_that_begins_is_followed_instead_of_the_older_ones(tmp_path: Path) -> None:
    db = database(tmp_path / "llm.db", TRACKIO)
    log_trackio(db, "a", 5, loss=3.0)
    log_trackio(db, "b", 0, loss=9.0)
    log_trackio(db, "a", 6, loss=2.9)
    source = new(tmp_path / "llm.db")
    records = source.poll(0.0)
    assert [type(r) for r in records] == [Start, Facts, Step, Start, Facts, Step]
    assert [(s.step, s.loss) for s in of(Step, records)] == [(5, 3.0), (0, 9.0)]
    log_trackio(db, "a", 7, loss=2.8)
    log_trackio(db, "b", 1, loss=8.0)
    assert [s.loss for s in source.poll(1.0)] == [8.0]
    db.close()


def test_alerts_of_the_training_code_are_counted(tmp_path: Path) -> None:
    db = database(tmp_path / "llm.db", TRACKIO)
    log_trackio(db, "a", 0, loss=3.0)
    source = new(tmp_path / "llm.db")
    source.poll(0.0)
    db.execute("INSERT INTO alerts VALUES (1, 'a', '', 'n', 'Loss', 'is high', 'warn', 3, 'x')")
    assert source.poll(1.0) == [Failure("trackio_alert", "warn: Loss: is high", fatal=False)]
    assert source.poll(2.0) == []
    db.close()


def test_reading_goes_on_after_a_restart(tmp_path: Path) -> None:
    db = database(tmp_path / "mlflow.db", MLFLOW)
    for step in range(3):
        log_mlflow(db, "a", step, loss=float(step))
    first = new(tmp_path / "mlflow.db")
    first.poll(0.0)
    second = new(tmp_path / "mlflow.db")
    second.restore(json.loads(json.dumps(first.state())))
    log_mlflow(db, "a", 3, loss=3.0)
    assert [s.step for s in of(Step, second.poll(1.0))] == [3]
    for state in ({}, {**first.state(), "rows": {}}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            new(tmp_path / "x").restore(state)
    db.close()


def test_a_large_database_is_read_in_turns(tmp_path: Path) -> None:
    db = database(tmp_path / "llm.db", TRACKIO)
    db.execute("BEGIN")
    for step in range(2 * ROWS + 10):
        log_trackio(db, "a", step, loss=1.0)
    db.execute("COMMIT")
    source, steps, waits = new(tmp_path / "llm.db"), [], []
    for _ in range(3):
        steps += of(Step, source.poll(0.0))
        waits.append(source.next_poll_s)
    assert [s.step for s in steps] == list(range(2 * ROWS + 10))
    assert waits == [0.0, 0.0, 5.0]
    db.close()


def test_a_locked_database_is_read_later(tmp_path: Path) -> None:
    db = database(tmp_path / "mlflow.db", MLFLOW)
    log_mlflow(db, "a", 1, loss=1.0)
    source = new(tmp_path / "mlflow.db")
    db.execute("BEGIN EXCLUSIVE")
    assert source.poll(0.0) == []
    assert source.problem is not None
    assert "locked" in source.problem
    assert not source.status("r").up
    db.execute("COMMIT")
    assert len(of(Step, source.poll(1.0))) == 1
    assert source.problem is None
    assert source.status("r").parse_errors == {"locked": 1}
    db.close()


@pytest.mark.parametrize("schema", [TRACKIO, MLFLOW])
def test_a_poll_leaves_no_lock_and_no_file_behind(tmp_path: Path, schema: str) -> None:
    database(tmp_path / "x.db", schema).close()
    before = sorted(os.listdir(tmp_path))
    new(tmp_path / "x.db").poll(0.0)
    assert sorted(os.listdir(tmp_path)) == before
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None, timeout=0)) as db:
        db.execute("BEGIN EXCLUSIVE")
        db.execute("COMMIT")


def test_a_missing_file_is_waited_for(tmp_path: Path) -> None:
    source = new(tmp_path / "llm.db")
    assert source.poll(0.0) == []
    assert (source.problem, source.status("r").waiting) == (None, True)
    db = database(tmp_path / "llm.db", TRACKIO)
    log_trackio(db, "a", 0, loss=1.0)
    assert len(of(Step, source.poll(1.0))) == 1
    db.close()


@pytest.mark.parametrize("content", [b"step 1 | loss 2.0\n", b"SQLite format 3\0" + b"\xff" * 500, b"\0" * 4096])
def test_what_is_no_database_is_said_once_and_survived(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.db").write_bytes(content)
    source = new(tmp_path / "x.db")
    assert source.poll(0.0) == []
    assert source.problem is not None
    assert "x.db" in source.problem
    assert source.poll(1.0) == []
    assert source.problem is not None


def test_another_kind_of_database_is_named_as_such(tmp_path: Path) -> None:
    database(tmp_path / "x.db", "CREATE TABLE metrics (a, b)").close()
    source = new(tmp_path / "x.db")
    for now in (0.0, 1.0):
        assert source.poll(now) == []
        assert source.problem is not None
        assert "no database of Trackio or MLflow" in source.problem


def test_a_database_made_anew_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with closing(database(path, MLFLOW)) as db:
        for step in range(5):
            log_mlflow(db, "a", step, loss=1.0)
    source = new(path)
    source.poll(0.0)
    path.unlink()
    with closing(database(path, MLFLOW)) as db:
        log_mlflow(db, "b", 0, loss=2.0)
    assert [type(r) for r in source.poll(1.0)] == [Start, Facts, Step]


def test_rows_that_are_no_json_are_counted(tmp_path: Path) -> None:
    db = database(tmp_path / "llm.db", TRACKIO)
    db.execute("INSERT INTO metrics VALUES (1, 'a', '', 'n', 0, '{oops', NULL, NULL)")
    log_trackio(db, "a", 1, loss=1.0)
    source = new(tmp_path / "llm.db")
    assert [s.step for s in of(Step, source.poll(0.0))] == [1]
    assert source.status("r").parse_errors == {"bad_row": 1}
    db.close()


@pytest.mark.parametrize(("name", "steps", "ends"), [("mlflow/mlflow.db", 200, 1), ("trackio/llm.db", 40, 0)])
def test_databases_of_the_real_writers_are_read(name: str, steps: int, ends: int) -> None:
    if not (SHARED / name).exists():
        pytest.skip("the sample lies outside the repository")
    records = new(SHARED / name).poll(0.0)
    assert [s.step for s in of(Step, records)] == list(range(steps))
    assert math.isnan(of(Step, records)[0].loss)
    assert len(of(Finish, records)) == ends


TRAIN = """
import sys, trackio
trackio.init(project="llm", name="r1", config={"max_steps": 30})
for i in range(30):
    trackio.log({"train/loss": float("nan") if i == 7 else 3 - i / 100, "train/global_step": i + 1})
    if i % 10 == 9:
        print(i + 1, flush=True)
        sys.stdin.readline()
trackio.alert(title="Loss", text="is low")
trackio.finish()
"""


def test_what_trackio_writes_is_read_while_it_writes(tmp_path: Path) -> None:
    needs.package("trackio")
    env = {**os.environ, "TRACKIO_DIR": str(tmp_path), "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    writer = subprocess.Popen(
        [sys.executable, "-c", TRAIN],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert writer.stdin
    assert writer.stdout
    source, records = new(tmp_path / "llm.db"), []
    try:
        for line in writer.stdout:
            if line.strip().isdigit():
                wait_for(lambda: of(Step, records), int(line), lambda: records.extend(source.poll(0.0)))
                writer.stdin.write("\n")
                writer.stdin.flush()
        writer.wait(20)
        wait_for(lambda: of(Failure, records), 1, lambda: records.extend(source.poll(0.0)))
    finally:
        writer.kill()
        writer.communicate()
    assert [s.step for s in of(Step, records)] == list(range(1, 31))
    assert math.isnan(of(Step, records)[7].loss)
    assert of(Facts, records)[0].total_steps == 30
    assert of(Failure, records)[0].kind == "trackio_alert"


def wait_for(found, n: int, poll) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 30
    while len(found()) < n:
        assert time.monotonic() < deadline
        poll()
        time.sleep(0.02)
