"""What goes wrong around the exporter: disks, permissions, clocks, logs that vanish, scrapers that storm."""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import Exporter, until
from training_monitor.app.monitor import Monitor
from training_monitor.app.store import ENDING
from training_monitor.clock import FakeClock
from training_monitor.config import parse
from training_monitor.expose.site import Site

DATA = Path(__file__).parent.parent / "data" / "nanochat"
LOG = (DATA / "base_train_spike.log").read_bytes()
NOBODY = 65534
STORM = int(os.environ.get("STORM", "12"))  # logs in one; `make soak` sets 200: half a minute of catching up


class Clock(FakeClock):
    """A clock that somebody sets."""

    def __init__(self) -> None:
        super().__init__()
        self.set_by = 0.0

    def now(self) -> float:
        return super().now() + self.set_by


class Place:
    """A folder with logs, and the monitors that watch it one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.logs, self.clock = folder, folder / "logs", Clock()
        self.state: Path | None = None
        self.monitors: list[Monitor] = []
        self.logs.mkdir()

    def write(self, data: bytes, name: str = "train.log") -> Path:
        path = self.logs / name
        with path.open("ab") as file:
            file.write(data)
        os.utime(path, (self.clock.now(), self.clock.now()))
        return path

    def begin(self) -> Monitor:
        state = str(self.state) if self.state else None
        for killed in self.monitors:
            killed.store.close()  # as the kernel does it
        m = Monitor([str(self.logs)], parse(""), state_dir=state, clock=self.clock, on_event=lambda run, event: None)
        self.monitors.append(m)
        m.start()
        assert m.settle()
        return m

    def look(self, m: Monitor, seconds: float = 1.0) -> None:
        self.clock.advance(seconds)
        m.round(set(m.roster.feeds))
        assert m.settle()
        m.tick()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    for m in made.monitors:
        m.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB. Mounting one takes root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    done = subprocess.run(mount, check=False, capture_output=True)
    if done.returncode != 0:
        pytest.skip("a small file system can only be mounted by root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def counts(m: Monitor, name: str = "train") -> dict:
    return {k: n for k, n in m.roster.runs[name].run.event_counts.items() if n}


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> dict:
    place = Place(tmp_path_factory.mktemp("truth"))
    place.write(LOG)
    m = place.begin()
    m.close()
    return counts(m)


# -- the state folder -------------------------------------------------------------------------------------------------


def test_a_full_disk_is_counted_and_said_and_nothing_else_stops(place, small_disk, truth, caplog):
    place.state = small_disk / "state"
    (small_disk / "filler").write_bytes(b"x" * 61_000)
    place.write(LOG)
    m = place.begin()
    assert m.view().own.state_save_failures > 0
    assert "No space left on device" in caplog.text
    assert counts(m) == truth
    assert not list(place.state.glob("*.part"))
    (small_disk / "filler").unlink()
    m.save()
    assert m.settle()
    failures = m.view().own.state_save_failures
    m.close()
    again = place.begin()
    assert again.roster.runs["train"].was_restored
    assert counts(again) == truth
    assert failures == m.view().own.state_save_failures


def test_a_disk_that_fills_up_leaves_the_last_good_state(place, small_disk, truth):
    place.state = small_disk / "state"
    place.write(LOG[:100_000])
    m = place.begin()
    (small_disk / "filler").write_bytes(b"x" * (os.statvfs(small_disk).f_bavail * 4096 - 4096))
    place.write(LOG[100_000:])
    place.look(m)
    place.look(m, 60)
    assert m.view().own.state_save_failures > 0
    m.close()
    again = place.begin()
    assert again.roster.runs["train"].was_restored
    assert counts(again) == truth


def test_a_read_only_state_folder_is_said_and_survived(place, small_disk, truth, caplog):
    place.state = small_disk / "state"
    place.write(LOG[:100_000])
    place.begin().close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    place.write(LOG[100_000:])
    m = place.begin()
    assert "Read-only file system" in caplog.text
    assert m.view().own.state_save_failures > 0
    assert counts(m) == truth


def test_a_state_folder_that_vanishes_is_made_again(place, tmp_path, truth):
    place.state = tmp_path / "state"
    place.write(LOG[:100_000])
    m = place.begin()
    shutil.rmtree(place.state)
    place.write(LOG[100_000:])
    place.look(m)
    place.look(m, 60)
    assert m.view().own.state_save_failures == 0
    m.close()
    assert len(list(place.state.iterdir())) == 1
    assert counts(place.begin()) == truth


@pytest.mark.parametrize("seed", range(12))
def test_whatever_stands_in_the_state_file_the_counters_are_right(place, tmp_path, truth, seed, caplog):
    chance = random.Random(seed)
    place.state = tmp_path / "state"
    place.write(LOG[:120_000])
    place.begin().close()
    (file,) = place.state.iterdir()
    data = bytearray(file.read_bytes())
    if seed % 3 == 0:
        data = data[: chance.randrange(len(data))]
    elif seed % 3 == 1:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    else:
        data = bytearray(chance.randbytes(chance.randrange(2000)))
    file.write_bytes(data)
    place.write(LOG[120_000:])
    m = place.begin()
    assert counts(m) == truth
    assert not m.roster.runs["train"].was_restored
    assert "its run is read from the start" in caplog.text


@pytest.mark.parametrize("key", ["run", "feeds"])
@pytest.mark.parametrize("value", [None, [], {}, 7, "x", [[]], [{}], {"tail": None}])
def test_a_state_of_a_foreign_shape_is_not_used(place, tmp_path, truth, key, value):
    place.state = tmp_path / "state"
    place.write(LOG)
    m = place.begin()
    m.close()
    (saved,) = m.store.index()
    state = {**m.store.load(saved.key), key: value}
    m.store.save(saved.key, json.dumps(state), paths=saved.paths)
    again = place.begin()
    assert counts(again) == truth
    assert again.roster.runs["train"].run.order.steps_seen == 1600


@pytest.mark.parametrize(
    "change",
    [
        (("run", "failure_counts"), 0),
        (("run", "shown", "loss"), ["x"]),
        (("run", "facts", 15), {}),
        (("run", "order", "last"), "x"),
        (("feeds", 0, "decoder", "counts", 2), {"a": [1]}),
    ],
)
def test_a_state_with_a_value_of_another_kind_is_not_used(place, tmp_path, truth, change, caplog):
    where, value = change
    place.state = tmp_path / "state"
    place.write(LOG[:120_000])
    m = place.begin()
    m.close()
    (saved,) = m.store.index()
    state = m.store.load(saved.key)
    holder = functools.reduce(lambda tree, key: tree[key], where[:-1], state)
    holder[where[-1]] = value
    m.store.save(saved.key, json.dumps(state), paths=saved.paths)
    place.write(LOG[120_000:])
    again = place.begin()
    place.look(again)
    assert Site(again.view).answer("GET", "/metrics", {}).status == 200
    assert counts(again) == truth
    assert again.view().sources[0].up
    assert "read from the start" in caplog.text


def test_a_state_that_unpacks_to_gigabytes_is_not_unpacked(place, tmp_path, truth, monkeypatch):
    monkeypatch.setattr("training_monitor.app.store.MAX_STATE", 1 << 20)
    place.state = tmp_path / "state"
    place.write(LOG)
    m = place.begin()
    m.close()
    (saved,) = m.store.index()
    m.store.save(saved.key, '{"run": "' + " " * (8 << 20) + '"}', paths=saved.paths)
    assert counts(place.begin()) == truth


def test_a_link_or_a_pipe_in_the_state_folder_is_not_followed_into_a_hang(place, tmp_path, truth):
    place.state = tmp_path / "state"
    place.state.mkdir()
    os.mkfifo(place.state / f"pipe{ENDING}")
    (place.state / f"loop{ENDING}").symlink_to(place.state / f"loop{ENDING}")
    (place.state / f"folder{ENDING}").mkdir()
    place.write(LOG)
    assert counts(place.begin()) == truth


# -- logs -------------------------------------------------------------------------------------------------------------


def test_a_log_removed_while_it_is_read_is_read_to_its_end(place, monkeypatch, truth):
    monkeypatch.setattr("training_monitor.app.feed.CHUNK", 10_000)
    path = place.write(LOG)
    from training_monitor.app.feed import Feed

    take = Feed.take

    def take_and_remove(self, chunk):
        path.unlink(missing_ok=True)
        return take(self, chunk)

    monkeypatch.setattr(Feed, "take", take_and_remove)
    m = place.begin()
    assert counts(m) == truth
    assert m.roster.runs["train"].run.state == "finished"
    (status,) = m.view().sources
    assert status.waiting


@pytest.fixture
def open_place() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    made = Place(folder)
    if os.geteuid() == 0:
        os.chown(made.logs, NOBODY, NOBODY)
    yield made
    for m in made.monitors:
        m.close()
    shutil.rmtree(folder)


def test_permission_lost_and_regained_loses_nothing_and_stalls_nobody(open_place, as_nobody, truth):
    place = open_place
    place.write(LOG[:100_000])
    m = place.begin()
    assert m.view().sources[0].up
    place.logs.chmod(0)
    place.look(m)
    (status,) = m.view().sources
    assert not status.up
    assert "no permission to read it" in status.problem
    place.look(m, 36_000)
    assert m.roster.runs["train"].run.state == "running"
    place.logs.chmod(stat.S_IRWXU)
    place.write(LOG[100_000:])
    place.look(m)
    assert m.view().sources[0].up
    assert counts(m) == truth


def test_a_log_that_may_not_be_read_from_the_start_is_read_when_it_may(open_place, as_nobody, truth):
    place = open_place
    path = place.write(LOG)
    path.chmod(0)
    m = place.begin()
    assert [s.up for s in m.view().sources] == [False]
    path.chmod(0o600)
    place.look(m)
    assert counts(m) == truth


# -- clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [3600.0, 400 * 86400.0, -3600.0, -400 * 86400.0])
def test_a_clock_that_is_set_is_no_silence_of_the_run(place, seconds):
    for i in range(20):
        place.write(LOG[i * 1000 : (i + 1) * 1000] if i else LOG[:60_000])
        m = m if i else place.begin()  # noqa: F821
        place.look(m, 2)
    run = m.roster.runs["train"]
    limit = run.run.engine.levels().stall_after_s
    place.clock.set_by = seconds
    place.look(m)
    assert run.run.state == "running"
    assert [s.run for s in m.view().snapshots] == ["train"]
    place.look(m, limit - 10)
    assert run.run.state == "running"
    place.look(m, 20)
    assert run.run.state == "stalled"  # at the same time as if nobody had set the clock
    place.write(LOG[100_000:101_000])
    place.look(m)
    assert run.run.state == "running"


@pytest.mark.parametrize("wrong_by", [7200.0, -7200.0])
def test_a_file_server_with_a_wrong_clock_makes_no_run_stall_or_outlive_its_silence(place, wrong_by):
    path = place.write(LOG[:60_000])
    m = place.begin()
    for i in range(1, 10):
        with path.open("ab") as file:
            file.write(LOG[59_000 + i * 1000 : 60_000 + i * 1000])
        os.utime(path, (place.clock.now() + wrong_by,) * 2)
        place.look(m, 2)
        assert m.roster.runs["train"].run.state == "running"
    assert m.view().snapshots[0].last_change == pytest.approx(place.clock.now(), abs=5)
    place.look(m, m.roster.runs["train"].run.engine.levels().stall_after_s + 10)
    assert m.roster.runs["train"].run.state == "stalled"


# -- scrapers ---------------------------------------------------------------------------------------------------------


def test_a_storm_of_scrapes_during_the_first_catch_up_sees_no_counter_fall(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    for n in range(4):
        (logs / f"{n}.log").write_bytes(LOG * STORM)
    exporter = Exporter(tmp_path / "exporter", [logs])
    answers: list[list[tuple[int | None, str]]] = [[] for _ in range(12)]
    enough = threading.Event()

    def storm(mine: list[tuple[int | None, str]]) -> None:
        while not enough.is_set():
            status = exporter.status("/metrics")
            mine.append((status, exporter.get() if status == 200 else ""))

    threads = [threading.Thread(target=storm, args=(mine,)) for mine in answers]
    exporter.start(wait=False)
    try:
        for thread in threads:
            thread.start()
        until(lambda: exporter.status("/-/ready") == 200, deadline_s=600)
        until(lambda: any(status == 200 for mine in answers for status, _ in mine))
        last = exporter.metrics()
    finally:
        enough.set()
        for thread in threads:
            thread.join()
        assert exporter.stop() == 0
    assert {status for mine in answers for status, _ in mine} <= {None, 200, 503}
    print(f"\n{sum(map(len, answers)):,} scrapes during the catch-up with {STORM * len(LOG) >> 18} MB")
    pages = [page for mine in answers for status, page in mine if status == 200]
    total = {name: value for name, value in last.items() if name.startswith("training_anomalies_total")}
    assert sum(total.values()) > 100
    for page in pages:
        assert {
            name: float(v) for name, _, v in (x.rpartition(" ") for x in page.splitlines()) if name in total
        } == total
