"""The monitor: files on disk in, runs out, through restarts of either side."""

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training_monitor.app.monitor import Monitor
from training_monitor.app.offline import read_run
from training_monitor.clock import FakeClock
from training_monitor.config import parse
from training_monitor.run import Run, state_of

DATA = Path(__file__).parent.parent / "data" / "nanochat"
SPIKE = (DATA / "base_train_spike.log").read_bytes()


class Watched:
    """A monitor whose rounds are made by the test."""

    def __init__(self, folder: Path, *, config: str = "", state: bool = True, clock: FakeClock | None = None) -> None:
        self.folder, self.clock, self.events = folder, clock or FakeClock(), []
        self.config, self.state = parse(config), str(folder / "state") if state else None
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        self.begin()

    def begin(self) -> None:
        self.monitor = Monitor(
            [str(self.folder / "logs")],
            self.config,
            state_dir=self.state,
            clock=self.clock,
            on_event=lambda run, event: self.events.append((run.name, event.step, event.kind, event.severity.label)),
        )
        self.monitor.start()

    def look(self, seconds: float = 1.0) -> None:
        """A second passes, and everything that changed is read."""
        self.clock.advance(seconds)
        self.monitor.rescan()
        assert self.monitor.settle()
        self.monitor.round(set(self.monitor.roster.feeds))
        assert self.monitor.settle()
        self.monitor.tick()

    def heard(self) -> set[str]:
        """Names of what the file system tells to have changed."""
        found: set[str] = set()
        while changed := self.monitor.wait(0.1):
            found |= changed
        return {Path(path).name for path in found}

    def die(self) -> None:
        """The process is killed: nothing is saved, a new one begins."""
        self.monitor.close()
        self.begin()

    def path(self, name: str) -> Path:
        return self.folder / "logs" / name

    def run(self, name: str = "train"):
        return self.monitor.roster.runs[name].run


@pytest.fixture
def watched(tmp_path):
    made = Watched(tmp_path)
    yield made
    made.monitor.close()


def test_a_log_that_appears_later_is_picked_up_and_followed(watched):
    assert watched.monitor.roster.runs == {}
    watched.path("train.log").write_bytes(SPIKE[:100_000])
    watched.look()
    first = watched.run().snapshot(0).step
    with watched.path("train.log").open("ab") as f:
        f.write(SPIKE[100_000:])
    watched.look()
    assert first < watched.run().snapshot(0).step == 1599
    assert watched.run().state == "finished"


@pytest.mark.parametrize("begins_as", ["log", "folder"])
def test_a_log_is_followed_after_a_folder_lay_in_its_place(watched, begins_as):
    """Docker makes a folder of a log that is to be mounted and does not exist yet."""
    log = watched.path("train.log")
    if begins_as == "log":
        log.write_bytes(SPIKE[:50_000])
        watched.look()
        log.rename(watched.path("kept"))
    log.mkdir()
    watched.look()
    log.rmdir()
    log.write_bytes(SPIKE[:50_000])
    watched.look()
    watched.heard()
    with log.open("ab") as f:
        f.write(SPIKE[50_000:])
    assert "train.log" in watched.heard()


@pytest.mark.parametrize("pack", [gzip.compress, bytes], ids=["gzip", "plain"])
@pytest.mark.parametrize("last", [SPIKE[150_000:], b""], ids=["the log goes on", "the log is empty yet"])
def test_all_generations_since_the_last_look_are_read_at_once_though_nothing_is_written_any_more(watched, pack, last):
    log = watched.path("train.log")
    log.write_bytes(SPIKE[:60_000])
    watched.look()
    watched.monitor.save()
    assert watched.monitor.settle()
    ending = ".gz" if pack is gzip.compress else ""
    watched.path(f"train.log.3{ending}").write_bytes(pack(SPIKE[:60_000]))
    watched.path(f"train.log.2{ending}").write_bytes(pack(SPIKE[60_000:100_000]))
    watched.path(f"train.log.1{ending}").write_bytes(pack(SPIKE[100_000:150_000]))
    log.unlink()
    log.write_bytes(last)
    watched.die()
    watched.monitor.round({str(log)})
    assert watched.monitor.settle()
    whole = watched.path("whole.txt")
    whole.write_bytes(SPIKE[:150_000] + last)
    assert watched.run().order.steps_seen == read_run(str(whole), watched.config).order.steps_seen


def test_what_was_read_at_the_start_is_kept_from_the_garbage_collector_once_it_is_there(watched, monkeypatch):
    watched.path("train.log").write_bytes(SPIKE)
    seen: list[bool] = []
    monkeypatch.setattr("gc.freeze", lambda: seen.append(watched.monitor.ready))
    watched.monitor.stop()
    watched.monitor.run()
    assert seen == [True]


def test_a_run_that_says_nothing_is_asked_every_five_seconds_and_at_once_when_it_speaks(watched, monkeypatch):
    watched.path("train.log").write_bytes(SPIKE[:60_000])
    watched.look()
    asked: list[float] = []
    tick = Run.tick
    monkeypatch.setattr(Run, "tick", lambda self, now: asked.append(now) or tick(self, now))
    for _ in range(20):
        watched.clock.advance(1)
        watched.monitor.tick()
    assert len(asked) == 4
    with watched.path("train.log").open("ab") as file:
        file.write(SPIKE[60_000:61_000])
    watched.look()
    assert len(asked) == 5


def test_a_named_log_that_does_not_exist_yet_is_waiting_and_no_error(tmp_path):
    monitor = Monitor([str(tmp_path / "later.log")], parse(""), clock=FakeClock())
    monitor.start()
    (status,) = monitor.view().sources
    assert (status.waiting, status.up, status.problem) == (True, False, None)
    assert monitor.view().snapshots[0].state == "waiting"
    monitor.close()


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("is_empty", [False, True], ids=["log", "empty log"])
@pytest.mark.parametrize("names", [["train.log.1"], ["train.log.2", "train.log.1"]])
def test_one_look_reads_through_all_generations_of_a_rotated_log(watched, names, is_empty, is_packed):
    """What comes after a rotation may be silent for hours: nobody looks again because of it."""
    log, cuts = watched.path("train.log"), [20_000 * n for n in range(1, len(names) + 3)]
    log.write_bytes(SPIKE[: cuts[0]])
    watched.look()
    with log.open("ab") as f:
        f.write(SPIKE[cuts[0] : cuts[1]])
    for name, cut, end in zip(names, cuts[1:-1], cuts[2:], strict=True):
        rotated = watched.path(name)
        rotated.write_bytes(log.read_bytes())
        if is_packed:
            watched.path(f"{name}.gz").write_bytes(gzip.compress(log.read_bytes()))
            rotated.unlink()
        log.write_bytes(SPIKE[cut:end])
    if is_empty:
        log.write_bytes(b"")
        cuts.pop()
    watched.monitor.round({str(log)})
    assert watched.monitor.settle()
    expected = Watched(watched.folder / "whole", state=False)
    expected.path("train.log").write_bytes(SPIKE[: cuts[-1]])
    expected.look()
    assert watched.run().order.last == expected.run().order.last
    expected.monitor.close()


def test_two_halves_of_a_slurm_job_are_one_run(watched):
    watched.path("slurm-7.out").write_bytes(SPIKE[:50_000])
    watched.path("slurm-7.err").write_bytes(
        b"slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-04-07T08:18:54 DUE TO TIME LIMIT ***\n"
    )
    watched.look()
    assert set(watched.monitor.roster.runs) == {"slurm-7"}
    assert watched.run("slurm-7").state == "crashed"
    assert watched.run("slurm-7").snapshot(0).step > 100


def test_equal_names_in_two_watched_folders_are_told_apart(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.log").write_bytes(SPIKE[:20_000])
    monitor = Monitor([str(tmp_path / "a"), str(tmp_path / "b")], parse(""), clock=FakeClock())
    monitor.start()
    assert set(monitor.roster.runs) == {"train", "b/train"}
    monitor.close()


def test_a_killed_monitor_goes_on_as_if_nothing_had_happened(tmp_path):
    (tmp_path / "killed").mkdir()
    (tmp_path / "calm").mkdir()
    killed, calm = Watched(tmp_path / "killed"), Watched(tmp_path / "calm")
    for at in range(0, len(SPIKE), 20_000):
        for watched in (killed, calm):
            with watched.path("train.log").open("ab") as f:
                f.write(SPIKE[at : at + 20_000])
            os.utime(watched.path("train.log"), (watched.clock.now(), watched.clock.now()))
            watched.look(7)
        killed.die()
    assert killed.run().event_counts == calm.run().event_counts
    # What a run knows from its log is equal; when its bytes were seen (`stall`) belongs to the monitor that saw them.
    kept = ("order", "events", "facts", "shown", "validations", "best_loss")
    one, other = state_of(killed.run()), state_of(calm.run())
    for name in ("detectors", "level", "crash"):
        assert json.dumps(one["engine"][name]) == json.dumps(other["engine"][name])
    assert {k: json.dumps(one[k]) for k in kept} == {k: json.dumps(other[k]) for k in kept}
    for watched in (killed, calm):
        watched.monitor.close()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.integers(1, 60_000), st.sampled_from(["", "die", "rotate", "save"])), min_size=3, max_size=12)
)
def test_whatever_happens_in_between_the_counters_end_the_same(tmp_path_factory, pieces):
    watched = Watched(tmp_path_factory.mktemp("any"))
    plain = Watched(tmp_path_factory.mktemp("plain"), state=False)
    plain.path("train.log").write_bytes(SPIKE)
    plain.look()
    rest = SPIKE
    for size, what in [*pieces, (len(SPIKE), "")]:
        with watched.path("train.log").open("ab") as f:
            f.write(rest[:size])
        rest = rest[size:]
        watched.look(7)
        if what == "die":
            watched.die()
        elif what == "save":
            watched.monitor.save()
            assert watched.monitor.settle()
        elif what == "rotate" and rest:
            watched.path("train.log").rename(watched.path("train.log.1"))
    assert watched.run().event_counts == plain.run().event_counts
    assert watched.run().snapshot(0).steps_seen == 1600
    for w in (watched, plain):
        w.monitor.close()


def test_a_state_that_cannot_be_used_is_read_again_from_the_log(watched, caplog):
    watched.path("train.log").write_bytes(SPIKE)
    watched.look()
    watched.monitor.save()
    assert watched.monitor.settle()
    counts = watched.run().event_counts
    store = watched.monitor.store
    (saved,) = store.index()
    state = store.load(saved.key)
    state["run"]["engine"] = {"something": "else"}
    store.save(saved.key, json.dumps(state), paths=saved.paths)
    watched.die()
    assert watched.run().event_counts == counts
    assert "its saved state cannot be used" in caplog.text


def test_a_new_run_written_into_the_same_path_is_a_new_run_and_keeps_the_counters(watched):
    watched.path("train.log").write_bytes(SPIKE)
    watched.look()
    before = dict(watched.run().event_counts)
    watched.path("train.log").write_bytes(SPIKE[:60_000])
    watched.look()
    seen = watched.run().snapshot(0)
    assert (seen.runs, seen.restarts, seen.state) == (2, 0, "running")
    assert seen.step < 400
    assert all(seen.event_counts[k] >= n for k, n in before.items())


def test_a_finished_run_goes_away_after_the_stated_time(tmp_path):
    watched = Watched(tmp_path, config="series: {expire_after: 1h}")
    watched.path("train.log").write_bytes(SPIKE)
    os.utime(watched.path("train.log"), (watched.clock.now(), watched.clock.now()))
    watched.look()
    assert [s.run for s in watched.monitor.view().snapshots] == ["train"]
    watched.clock.advance(3600)
    assert watched.monitor.view().snapshots == []
    assert watched.monitor.view().sources == []
    watched.monitor.close()


def test_metrics_are_not_ready_before_the_first_catch_up(tmp_path):
    (tmp_path / "train.log").write_bytes(SPIKE)
    monitor = Monitor([str(tmp_path)], parse(""), clock=FakeClock())
    assert not monitor.view().ready
    monitor.start()
    assert monitor.view().ready
    monitor.close()


def test_an_unreadable_log_is_not_up_and_says_why_and_the_others_go_on(watched):
    watched.path("train.log").write_bytes(SPIKE)
    watched.path("other.log").mkdir()
    os.mkfifo(watched.path("pipe.log"))
    watched.look()
    assert watched.run().state == "finished"
    assert watched.monitor.view().own.skipped_files["fifo"] == 1
