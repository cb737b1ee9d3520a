"""The inputs that are no logs: databases, configurations, requests, saved states."""

from __future__ import annotations

import json
import socket
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from full_view import full_view
from training_monitor.app.monitor import Monitor
from training_monitor.app.roster import Roster
from training_monitor.app.store import ENDING, Store
from training_monitor.clock import FakeClock
from training_monitor.config import Config, parse
from training_monitor.config.example import commented
from training_monitor.config.show import effective
from training_monitor.errors import ConfigError
from training_monitor.expose.guard import Guard
from training_monitor.expose.request import Request
from training_monitor.expose.site import Site
from training_monitor.expose.web_config import load
from training_monitor.parse.rows import RowReader
from training_monitor.tail.discovery import Candidate
from training_monitor.tail.sqlite import SqliteSource

HERE = Path(__file__).parent
LOG = (HERE.parent / "data/nanochat/base_train_spike.log").read_bytes()[:20_000]
NOW = 1.79e9
MLFLOW = """
CREATE TABLE runs (run_uuid VARCHAR(32), name VARCHAR(250), status VARCHAR(9), start_time BIGINT, end_time BIGINT);
CREATE TABLE metrics (key VARCHAR(250), value FLOAT, timestamp BIGINT, run_uuid VARCHAR(32), step BIGINT, is_nan BOOL);
CREATE TABLE params (key VARCHAR(250), value VARCHAR(8000), run_uuid VARCHAR(32));
INSERT INTO runs VALUES ('a', 'first', 'RUNNING', 1795371745684, NULL), ('b', 'second', 'FAILED', 1795371745684, 0);
INSERT INTO params VALUES ('max_steps', '100', 'a');
INSERT INTO metrics VALUES ('loss', 2.5, 1795371745684, 'a', 1, 0), ('lr', 1e-4, 1795371745684, 'a', 1, 0),
    ('loss', 0, 1795371745685, 'a', 2, 1), ('loss', 1.7976931348623157e308, 1795371745686, 'b', 1, 0);
"""
#: What stands in the place of a value of a saved state.
STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**70, -(2**70), 0.5, -1.0, 1e308, float("nan"), float("inf"), "", "x", "7"),
    *([], [None], [0], ["x"], [[]], [{}], {}, {"x": None}, {"x": {}}, {"a": [1]}, "\udcff", "x" * 300),
)


@cache
def folder() -> Path:
    """In memory where that is possible: some thousand files a second are written there."""
    memory = Path("/dev/shm")
    made = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
    _kept.append(made)
    return Path(made.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []  # removed at the end


def database(data: bytes) -> None:
    """A database that somebody damaged: polled twice and its state restored, it raises nothing."""
    path = folder() / "fuzz.db"
    path.write_bytes(data)
    source = SqliteSource(str(path), RowReader)
    source.poll(0.0)
    again = SqliteSource(str(path), RowReader)
    again.restore(json.loads(json.dumps(source.state())))
    again.poll(10.0)
    source.status("run")


def trackio() -> Sequence[bytes]:
    return [(HERE.parent / "data/trackio/llm.db").read_bytes()]


def mlflow() -> Sequence[bytes]:
    path = folder() / "seed.db"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as db:
        db.executescript("PRAGMA page_size = 512;" + MLFLOW)
    return [path.read_bytes()]


def configuration(data: bytes) -> None:
    """Any text is a configuration or refused with sentences; one that is accepted can be used and shown."""
    try:
        config = parse(data.decode("utf-8", "replace"))
    except ConfigError as refused:
        check_refusal(refused)
        return
    config.of("run")
    assert parse(effective(config)).default == config.default


def check_refusal(refused: ConfigError) -> None:
    """It says what is wrong, and in a few words."""
    assert refused.problems
    assert len(str(refused)) < 1 << 24


def configurations() -> Sequence[bytes]:
    bad = sorted((HERE.parent / "config/bad").glob("*.yml"))
    return [commented().encode(), *(path.read_bytes() for path in bad)]


def web_configuration(data: bytes) -> None:
    path = folder() / "web.yml"
    path.write_bytes(data)
    try:
        load(path)
    except ConfigError as refused:
        check_refusal(refused)


def web_configurations() -> Sequence[bytes]:
    hashed = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
    return [
        b"tls_server_config:\n  cert_file: a.crt\n  key_file: a.key\n  client_ca_file: ca.crt\n  min_version: TLS13\n"
        b"  client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: [prometheus]\n",
        f"basic_auth_users: {{prometheus: {hashed}}}\nrate_limit: {{interval: 1m30s, burst: 5}}\n".encode(),
        b"http_server_config:\n  http2: false\n  headers: {X-Frame-Options: sameorigin, X-XSS-Protection: ''}\n",
    ]


_SITE, _GUARD = Site(full_view), Guard()


def request(data: bytes) -> None:
    """What a client sends and hangs up: it gets a whole answer or none, and nothing is raised."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data[:60_000])
        theirs.shutdown(socket.SHUT_WR)
        got = Request(ours, "peer", 16 * 1024)
        if got.complete:
            headers = {name.lower(): value for name, value in got.headers.items()}
            rules = _GUARD.rules()
            refusal = _GUARD.refusal(rules, headers.get("authorization"))
            got.send(refusal or _SITE.answer(got.command, got.path, headers), rules.settings.headers)
        ours.shutdown(socket.SHUT_WR)
        answer = theirs.recv(1 << 20)
        assert not answer or answer.startswith(b"HTTP/1.")


def requests() -> Sequence[bytes]:
    return [
        b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;q=0.5\r\nAccept-Encoding: gzip\r\n\r\n",
        b"HEAD /metrics?name[]=training_loss&name%5B%5D=training_mfu_ratio HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic cHJvbWV0aGV1czpv\r\n\r\n",
        b"POST /-/ready HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        b"GET /-/healthy\r\n\r\n",
    ]


def state_file(data: bytes) -> None:
    """Whatever stands in a state file, the run is there, is read to its end and shown."""
    place = folder() / "state"
    place.mkdir(exist_ok=True)
    for path in place.iterdir():
        path.unlink()
    (place / f"file{ENDING}").write_bytes(data)
    _go_on(place)


def state_files() -> Sequence[bytes]:
    place = folder() / "seed"
    with closing(Store(str(place))) as store:
        store.save("train", json.dumps(state()), paths=[log()])
    return [path.read_bytes() for path in place.iterdir()]


def state_values(data: bytes) -> None:
    """A whole state in which values were exchanged: three bytes say which, and what stands there instead."""
    changed = state()
    for at in range(0, min(len(data) - 2, 24), 3):
        exchange(changed, int.from_bytes(data[at : at + 2], "big"), STRANGE[data[at + 2] % len(STRANGE)])
    place = folder() / "values"
    with closing(Store(str(place))) as store:
        store.save("train", json.dumps(changed), paths=[log()])
    _go_on(place)


def changes() -> Sequence[bytes]:
    return [bytes([0, n, n]) for n in range(len(STRANGE))]


def state() -> dict[str, Any]:
    """The saved state of a run that is half read."""
    found: dict[str, Any] = json.loads(_half_read())
    return found


@cache
def _half_read() -> str:
    roster = Roster(Config(), Store(None), [str(folder())], FakeClock(NOW), {})
    feed = roster.add(Candidate(log(), "file"))
    chunk = feed.tail.read(len(LOG) // 2)
    assert chunk is not None
    roster.of(feed).take(feed, 0, chunk, NOW)
    feed.close()
    return roster.of(feed).dumped()


@cache
def log() -> str:
    path = folder() / "train.log"
    path.write_bytes(LOG)
    return str(path)


def _go_on(place: Path) -> None:
    """A start of the exporter with this folder of states: it reads the rest of the log, time passes, it is scraped."""
    clock = FakeClock(NOW)
    monitor = Monitor([log()], Config(), state_dir=str(place), clock=clock, env={}, on_event=lambda run, event: None)
    try:
        monitor.start()
        clock.advance(100)
        monitor.round({log()})
        assert monitor.settle()
        answer = Site(monitor.view).answer("GET", "/metrics", {})
        assert answer.status == 200
        assert b"\ntraining_step{" in answer.body
        assert not any(feed.broken for feed in monitor.roster.feeds.values())
        monitor.save()
        assert monitor.settle()
        assert monitor.store.failures == 0
    finally:
        monitor.close()


def exchange(tree: Any, n: int, value: Any) -> None:
    """Puts `value` in the place of node number `n` of the tree, counted around."""
    places = list(_places(tree))
    holder, key = places[n % len(places)]
    holder[key] = value


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items):
        yield tree, key
        yield from _places(value)
