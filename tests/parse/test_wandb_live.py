"""The reader beside the real client, which writes while we read."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import needs
from training_monitor.parse.rows import flattened
from training_monitor.parse.wandb import WandbDecoder
from training_monitor.records import Facts, Failure, Finish, Record, Start, Step, Validation
from training_monitor.tail.wandb_runs import being_written
from wandb_rows import history_rows

TRAIN = """
import sys, wandb
run = wandb.init(project="llm", id="live", name="tiny", mode="offline", config={"max_steps": 600, "lr": 1e-4})
for i in range(600):
    row = {"train/loss": float("nan") if i == 7 else 3 - i / 1000, "train": {"grad_norm": 1.5}, "lr": 1e-4, "mfu": 0.41}
    run.log({**row, "val/loss": 3.0} if i % 200 == 0 else row)
    print("step", i)
    if i == 300:
        print("half", file=sys.stderr, flush=True)
        sys.stdin.readline()
run.alert("Loss", "is low")
"""
ENDS = {
    "regular": ("", Finish, None),
    "out_of_memory": ("raise RuntimeError('CUDA out of memory. Tried to allocate 2.00 GiB')", Failure, "cuda_oom"),
    "exit_code": ("sys.exit(3)", Failure, "exit_code"),
    "interrupt": ("import os, signal; os.kill(os.getpid(), signal.SIGINT); input()", Failure, "keyboard_interrupt"),
}


class Follower:
    """Reads what has been added to a run's file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.decoder, self.at = folder, WandbDecoder(), 0
        self.records: list[Record] = []

    def read(self) -> None:
        for path in self.folder.glob("wandb/offline-run-*/*.wandb"):
            with path.open("rb") as file:
                file.seek(self.at)
                data = file.read()
            self.at += len(data)
            self.records += self.decoder.feed(data)

    def of(self, kind: type) -> list:
        return [r for r in self.records if type(r) is kind]

    def read_until(self, is_enough) -> None:  # type: ignore[no-untyped-def]
        deadline = time.monotonic() + 60
        while not is_enough():
            assert time.monotonic() < deadline, (self.at, self.records[-1:])
            self.read()
            time.sleep(0.01)


@contextmanager
def training(folder: Path, last_words: str) -> Iterator[subprocess.Popen[str]]:
    """A run that waits in its middle."""
    needs.package("wandb")
    env = {**os.environ, "WANDB_DIR": str(folder), "HOME": str(folder), "WANDB_SILENT": "true"}
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    command = [sys.executable, "-c", TRAIN + last_words]
    process = subprocess.Popen(command, env=env, cwd=folder, stdin=pipe, stdout=null, stderr=pipe, text=True)
    try:
        assert process.stderr
        assert "half" in process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("end", ENDS)
def test_a_run_is_read_while_the_client_writes_it(tmp_path: Path, end: str) -> None:
    last_words, kind, cause = ENDS[end]
    follower = Follower(tmp_path)
    with training(tmp_path, last_words) as process:
        follower.read_until(lambda: len(follower.of(Step)) > 100)
        assert not follower.of(Finish) + follower.of(Failure)
        process.communicate("\n", timeout=60)
    follower.read_until(lambda: follower.of(kind)[-1:] and follower.records[-1] in follower.of(kind)[-1:])
    steps = follower.of(Step)
    assert [s.step for s in steps] == list(range(600))
    assert [s.loss for s in steps[:7]] == [3 - i / 1000 for i in range(7)]
    assert [s.step for s in steps if s.loss is not None and math.isnan(s.loss)] == [7]
    assert {(s.grad_norm, s.learning_rate, s.mfu_ratio) for s in steps} == {(1.5, 1e-4, 0.41)}
    assert [v.step for v in follower.of(Validation)] == [0, 200, 400]
    assert len(follower.of(Start)) == 1
    facts = follower.of(Facts)[0]
    assert (facts.run_id, facts.name, facts.total_steps, facts.flush_s) == ("live", "tiny", 600, 15)
    assert [f.kind for f in follower.of(Failure)] == ["wandb_alert", *([cause] if cause else [])]
    assert not follower.decoder.counts.errors


def test_the_installed_clients_inspector_gives_the_same_rows(tmp_path: Path) -> None:
    with training(tmp_path, "") as process:
        process.communicate("\n", timeout=60)
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    told = subprocess.run(command, stdout=subprocess.PIPE, cwd=tmp_path, timeout=60, check=True).stdout.splitlines()
    golden = [flattened(json.loads(line)["history"]["item"]) for line in told if b'"type":"history"' in line]
    assert history_rows(path.read_bytes()) == golden
    assert len(golden) == 600


def test_a_killed_run_leaves_whole_rows_no_word_about_its_end_and_no_writer(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    with training(tmp_path, "") as process:
        follower.read_until(lambda: len(follower.of(Step)) > 100)
        (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
        assert str(path) in set(being_written())
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    follower.read_until(lambda: str(path) not in set(being_written()))
    assert [s.step for s in follower.of(Step)] == list(range(len(follower.of(Step))))
    assert not follower.of(Finish) + follower.of(Failure)
    assert not follower.decoder.counts.errors
