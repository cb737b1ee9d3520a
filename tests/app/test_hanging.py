"""A file system that does not answer holds up nothing but itself: not the scrape, not other runs, not the end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from training_monitor.app import jobs, lanes, monitor, store
from training_monitor.app.feed import Feed
from training_monitor.app.monitor import Monitor
from training_monitor.clock import FakeClock
from training_monitor.config import parse
from training_monitor.tail.file import FileTail
from training_monitor.tail.mounts import Mounts

LOG = (Path(__file__).parent.parent / "data" / "nanochat" / "base_train_spike.log").read_bytes()
DEADLINE_S = 20.0


class Hanging:
    """File systems that can be made to hang."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.asked: list[str] = []
        self.paths: list[str] = []

    def maybe(self, path: str) -> None:
        if any(path.startswith(hung) for hung in self.paths):
            self.asked.append(path)
            assert self.answers.wait(DEADLINE_S)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    made = Hanging()
    monkeypatch.setattr(lanes, "HUNG_S", 0.05)
    monkeypatch.setattr(monitor, "START_S", 0.1)
    monkeypatch.setattr(monitor, "STOP_S", 0.1)
    monkeypatch.setattr(monitor, "TICK_S", 0.05)
    read = FileTail.read

    def slow_read(self: FileTail, limit: int = 1 << 20):
        made.maybe(self.path)
        return read(self, limit)

    monkeypatch.setattr(FileTail, "read", slow_read)
    yield made
    made.answers.set()


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    for name in ("nfs/a.log", "nfs/b.log", "local/c.log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(LOG[:50_000])
    return tmp_path


def make(logs: Path, **more) -> Monitor:
    mounts = Mounts({str(logs / "nfs"): "nfs4"})
    return Monitor([str(logs / "nfs"), str(logs / "local")], parse(""), clock=FakeClock(), mounts=mounts, **more)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def shown(m: Monitor) -> set[str]:
    return {s.run for s in m.view().snapshots}


def test_the_first_catch_up_ends_without_the_logs_that_hang(logs, hanging):
    hanging.paths = [str(logs / "nfs")]
    m = make(logs)
    m.start()
    assert m.view().ready
    until(lambda: shown(m) == {"c"} and len(hanging.asked) == 2)
    hanging.answers.set()
    until(lambda: m.settle() and shown(m) == {"a", "b", "c"})
    m.close()


def test_a_log_that_hangs_on_a_local_disk_does_not_hold_up_its_neighbours(logs, hanging):
    for i in range(3):
        (logs / "local" / f"hung{i}.log").write_bytes(LOG[:50_000])
    hanging.paths = [str(logs / "local" / "hung")]
    m = make(logs)
    m.start()
    until(lambda: m.settle() and shown(m) == {"a", "b", "c"})
    with (logs / "local" / "c.log").open("ab") as f:
        f.write(LOG[50_000:])
    m.round({str(logs / "local" / "c.log")})
    until(lambda: m.view().snapshots[2].state == "finished")
    hanging.answers.set()
    m.close()


def test_a_whole_file_system_that_hangs_uses_few_threads(logs, hanging):
    for i in range(30):
        (logs / "nfs" / f"{i}.log").write_bytes(LOG[:5_000])
    hanging.paths = [str(logs / "nfs")]
    before = threading.active_count()
    m = make(logs)
    m.start()
    for _ in range(5):
        m.round(set(m.roster.feeds))
    until(lambda: m.settle() and len(hanging.asked) == lanes.MOST_WORKERS)
    assert threading.active_count() - before <= lanes.MOST_WORKERS + 3  # reading the local one, two searches
    hanging.answers.set()
    until(lambda: m.settle() and len(shown(m)) == 33)
    m.close()


def test_a_second_source_that_hangs_does_not_hide_the_run(logs, hanging):
    m = make(logs)
    m.start()
    hanging.paths = [str(logs / "local" / "c.err")]
    (logs / "local" / "c.err").write_bytes(b"warning: nothing yet\n")
    m.rescan()
    until(lambda: m._take_searches() or len(hanging.asked) == 1)
    until(lambda: len(hanging.asked) == 1)
    assert len(m.roster.runs["c"].feeds) == 2
    assert shown(m) == {"a", "b", "c"}
    hanging.answers.set()
    m.close()


def test_what_was_read_while_it_hung_comes_once(logs, hanging):
    m = make(logs)
    m.start()
    until(lambda: shown(m) == {"a", "b", "c"})
    path = str(logs / "nfs" / "a.log")
    hanging.paths = [path]
    m.round({path})
    until(lambda: bool(hanging.asked))
    with open(path, "ab") as f:
        f.write(LOG[50_000:])
    for _ in range(3):
        m.round({path})
    hanging.answers.set()
    run = m.roster.runs["a"].run
    until(lambda: m.settle() and run.order.steps_seen == 1600)
    assert (run.order.steps_seen, run.restarts, run.state) == (1600, 0, "finished")
    m.close()


def test_a_source_that_does_not_answer_is_not_up_and_says_so(logs, hanging, monkeypatch):
    monkeypatch.setattr("training_monitor.app.feed.SILENT_S", 0.0)
    m = make(logs)
    m.start()
    path = str(logs / "nfs" / "a.log")
    hanging.paths = [path]
    m.round({path})
    until(lambda: bool(hanging.asked))
    status = {s.source: s for s in m.view().sources}[path]
    assert not status.up
    assert "has not answered" in status.problem
    hanging.answers.set()
    until(lambda: all(s.up for s in m.view().sources))
    m.close()


def test_a_run_whose_file_system_hangs_is_not_called_stalled(logs, hanging):
    m = make(logs)
    for path in (logs / "nfs").iterdir():
        os.utime(path, (m.clock.now(), m.clock.now()))
    m.start()
    until(lambda: shown(m) == {"a", "b", "c"})
    path = str(logs / "nfs" / "a.log")
    hanging.paths = [path]
    m.round({path})
    until(lambda: bool(hanging.asked))
    m.clock.advance(36_000)
    m.tick()
    states = {s.run: s.state for s in m.snapshots()}
    assert (states["a"], states["b"]) == ("running", "stalled")
    hanging.answers.set()
    m.close()


def test_a_search_that_hangs_does_not_hold_up_the_others(logs, hanging, monkeypatch):
    discover = jobs.discover

    def slow_discover(paths, **more):
        hanging.maybe(paths[0])
        return discover(paths, **more)

    monkeypatch.setattr(jobs, "discover", slow_discover)
    hanging.paths = [str(logs / "nfs")]
    m = make(logs)
    m.start()
    until(lambda: m.settle() and shown(m) == {"c"})
    (logs / "local" / "later.log").write_bytes(LOG)
    m.rescan()
    until(lambda: m.settle() and shown(m) == {"c", "later"})
    hanging.answers.set()
    until(lambda: m.settle() and shown(m) == {"a", "b", "c", "later"})
    m.close()


def test_the_end_waits_for_nothing_that_hangs(logs, hanging, monkeypatch):
    def hang(self, *args, **more):
        hanging.maybe("state")

    monkeypatch.setattr(store.Store, "save", hang)
    hanging.paths = [str(logs / "nfs"), "state"]
    m = make(logs, state_dir=str(logs / "state"))
    runner = threading.Thread(target=m.run, daemon=True)
    runner.start()
    until(lambda: m.ready)
    m.stop()
    runner.join(DEADLINE_S)
    assert not runner.is_alive()


def test_an_error_of_ours_ends_one_source_and_says_so(logs, hanging, monkeypatch, caplog):
    real = Feed.take

    def fail(self, chunk):
        if self.path.endswith("a.log"):
            raise RuntimeError("a bug")
        return real(self, chunk)

    monkeypatch.setattr(Feed, "take", fail)
    m = make(logs)
    m.start()
    m.round(set(m.roster.feeds))
    until(lambda: {s.run: s.up for s in m.view().sources} == {"a": False, "b": True, "c": True})
    assert caplog.text.count("it is not read any more") == 1
    m.close()


def test_jobs_of_a_lane_are_done_in_turn_and_again_when_asked_meanwhile():
    done: list[str] = []
    go, begun = threading.Event(), threading.Event()

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def fetch(self) -> str:
            begun.set()
            assert go.wait(DEADLINE_S)
            return self.name

        def take(self, found: str) -> bool:
            done.append(found)
            return len(done) == 1

    a, b = Named("a"), Named("b")
    all_lanes = lanes.Lanes()
    all_lanes.put("x", [a])
    assert begun.wait(DEADLINE_S)
    all_lanes.put("x", [b, a, b])
    go.set()
    assert all_lanes.settle(DEADLINE_S)
    assert done == ["a", "b", "a"]
    assert all_lanes.close(DEADLINE_S)
    all_lanes.put("x", [a])
    assert all_lanes.settle(0)
    assert len(done) == 3
