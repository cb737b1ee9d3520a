"""Databases, the W&B cloud, and one run that several sources tell of."""

import json
import shutil
from pathlib import Path

import pytest

from training_monitor.app.monitor import Monitor
from training_monitor.app.polled import PolledFeed
from training_monitor.clock import FakeClock
from training_monitor.config import parse
from training_monitor.errors import UsageError
from wandb_stub import KEY, Stub

DATA = Path(__file__).parents[1] / "data"
KILLED = DATA / "wandb" / "0.31.0-killed.wandb"


class Looking:
    """A monitor on `folder` whose time passes by the test."""

    def __init__(self, folder: Path, config: str = "", env: dict[str, str] | None = None) -> None:
        self.clock = FakeClock()
        self.events: list[str] = []
        self.made = lambda: Monitor(
            [str(folder)],
            parse(config),
            state_dir=str(folder / ".state"),
            clock=self.clock,
            env=env or {},
            on_event=lambda run, event: self.events.append(event.kind),
        )
        self.monitor = self.made()
        self.monitor.start()

    def pass_(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.monitor.tick()
        assert self.monitor.settle()

    def run(self, name: str):
        return self.monitor.roster.runs[name].run


@pytest.fixture
def stub():
    server = Stub()
    yield server
    server.close()


def test_a_database_is_followed(tmp_path):
    shutil.copy(DATA / "trackio" / "llm.db", tmp_path / "project.db")
    looking = Looking(tmp_path / "project.db")
    assert looking.run("project").snapshot(0).step == 39
    (status,) = looking.monitor.view().sources
    assert status.up
    assert status.lines_read > 0
    looking.monitor.close()


def test_a_cloud_run_is_followed_polled_no_more_often_than_configured_and_goes_on_after_a_restart(tmp_path, stub):
    env = {"WANDB_BASE_URL": stub.url, "WANDB_API_KEY": KEY}
    stub.run("abc").log(*({"_step": i, "loss": 3.0 - i / 100, "_timestamp": 1e9 + i} for i in range(50)))
    looking = Looking(tmp_path, "sources: {wandb_runs: [me/llm/abc], wandb_poll: 30s}", env)
    looking.pass_(1)
    assert looking.run("abc").snapshot(0).step == 49
    asked = len(stub.requests)
    looking.pass_(5)
    assert len(stub.requests) == asked
    stub.run("abc").log(*({"_step": i, "loss": 2.0, "_timestamp": 1e9 + i} for i in range(50, 60)))
    looking.monitor.save()
    assert looking.monitor.settle()
    looking.monitor.close()
    looking.monitor = looking.made()
    looking.monitor.start()
    looking.pass_(40)
    seen = looking.run("abc").snapshot(0)
    assert (seen.step, seen.steps_seen, seen.restarts) == (59, 60, 0)
    assert KEY not in json.dumps([s.source for s in looking.monitor.view().sources])
    looking.monitor.close()


def test_a_server_that_refuses_is_a_problem_that_is_told_and_nothing_else(tmp_path, stub):
    env = {"WANDB_BASE_URL": stub.url, "WANDB_API_KEY": "x" * 40}
    looking = Looking(tmp_path, "sources: {wandb_runs: [me/llm/abc]}", env)
    looking.pass_(1)
    (status,) = looking.monitor.view().sources
    assert not status.up
    assert status.problem
    assert "x" * 40 not in status.problem
    looking.monitor.close()


def test_an_address_that_names_no_run_stops_the_start(tmp_path):
    with pytest.raises(UsageError, match="names no run"):
        Looking(tmp_path, "sources: {wandb_runs: [just-a-name]}")


def test_stdout_and_wandb_of_one_run_are_one_run(tmp_path):
    """The console line of the W&B client names the run; its file then adds what stdout does not print."""
    folder = tmp_path / "wandb" / "offline-run-20261122_181120-zidy7otb"
    folder.mkdir(parents=True)
    shutil.copy(KILLED, folder / "run-zidy7otb.wandb")
    lines = ["wandb: Run data is saved locally in /x/wandb/offline-run-20261122_181120-zidy7otb"]
    lines += [f"step {i}/100 | loss: {3 - i / 50:.4f}" for i in range(15)]
    (tmp_path / "train.log").write_text("\n".join(lines) + "\n")
    looking = Looking(tmp_path)
    looking.pass_(1)
    looking.pass_(1)
    assert set(looking.monitor.roster.runs) == {"train"}
    seen = looking.run("train").snapshot(0)
    assert (seen.step, seen.steps_seen, seen.restarts, seen.runs) == (14, 15, 0, 1)
    assert seen.loss == pytest.approx(3 - 14 / 50)
    assert seen.grad_norm is not None
    assert {s.kind for s in looking.monitor.view().sources} == {"file", "wandb"}
    looking.monitor.close()


def test_a_writer_that_goes_without_an_exit_record_crashed(tmp_path, monkeypatch):
    folder = tmp_path / "wandb" / "offline-run-20261122_181120-zidy7otb"
    folder.mkdir(parents=True)
    path = shutil.copy(KILLED, folder / "run-zidy7otb.wandb")
    looking = Looking(tmp_path)
    written = {str(path)}
    monkeypatch.setattr("training_monitor.tail.wandb_live.being_written", lambda proc: written)
    looking.pass_(20)
    written.clear()
    for _ in range(3):
        looking.pass_(20)
    assert looking.run("zidy7otb").state == "crashed"
    assert looking.events.count("crashed") == 1
    looking.monitor.close()


def test_polled_feeds_are_of_the_kinds_that_have_no_bytes(tmp_path):
    shutil.copy(DATA / "trackio" / "llm.db", tmp_path / "project.db")
    looking = Looking(tmp_path / "project.db")
    assert [type(f) for f in looking.monitor.roster.feeds.values()] == [PolledFeed]
    looking.monitor.close()
