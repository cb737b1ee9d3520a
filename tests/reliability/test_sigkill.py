"""Killed at any moment while logs grow and rotate, the exporter ends where one that was never killed ends.

`make soak` runs this file with KILLS=200. Both exporters follow the same folder; SEED decides what is written, when
it is rotated and when the kill comes. Nothing but the times of day at which bytes were seen may differ at the end.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from serving import Exporter, until
from training_monitor.app.offline import read_run
from training_monitor.app.store import ENDING, Store
from training_monitor.config import Config

KILLS = int(os.environ.get("KILLS", "10"))
SEED = int(os.environ.get("SEED", "1"))
DATA = Path(__file__).parent.parent / "data" / "nanochat"
CONFIG = "state: {save_interval: 0.2s}\nsources: {rescan: 1s}"
SLOWEST_KILL_S = 1.2  # the exporter has caught up by then, and saved
REST = 5  # after so many kills it may catch up: on a slow machine it would outlive all generations of a log unread
TIME_LIMIT = b"slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-04-07T08:18:54 DUE TO TIME LIMIT ***\n"
#: What cannot be equal, because it is when bytes were seen, or how often an exporter began anew.
TIMES = re.compile(
    r"training_monitor_(?!source_(lines|parse)_)|training_(last_|goodput|run_wall|run_lost|lost_|stall|remaining)|process_|python_"
)


def nanochat(rounds: int) -> Iterator[bytes]:
    """Real logs one after the other, as one job script writes them; in each round the losses are a little different."""
    for n in range(rounds):
        for name in ("base_train_spike", "base_train_nan", "base_train_crash", "base_train_resume", "chat_sft"):
            yield re.sub(rb"(loss: \d+\.\d{5})\d", rb"\g<1>%d" % (n % 10), (DATA / f"{name}.log").read_bytes())


class Writer:
    """Appends to one log in pieces of any size, and rotates it in one way."""

    def __init__(self, path: Path, data: bytes, how: str, chance: random.Random) -> None:
        self.path, self._data, self._how, self._chance = path, data, how, chance
        self._at = self.rotations = 0
        self.path.touch()

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def write(self, size: int) -> None:
        with self.path.open("ab") as file:
            file.write(self._data[self._at : self._at + size])
        self._at = min(len(self._data), self._at + size)
        if self._how and self._chance.random() < 0.2:
            self._rotate()

    def _rotate(self) -> None:
        self.rotations += 1
        for n in range(60, 0, -1):
            for end in ("", ".gz"):
                old = self.path.with_name(f"{self.path.name}.{n}{end}")
                if old.exists():
                    old.rename(self.path.with_name(f"{self.path.name}.{n + 1}{end}"))
        first = self.path.with_name(f"{self.path.name}.1")
        if self._how == "copytruncate":
            shutil.copyfile(self.path, first)
            os.truncate(self.path, 0)
            return
        self.path.rename(first)
        if self._how == "gzip":
            first.with_name(f"{first.name}.gz").write_bytes(gzip.compress(first.read_bytes(), 1))
            first.unlink()
        self.path.touch()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path


def test_sigkill_at_any_moment_changes_nothing(folder: Path) -> None:
    chance = random.Random(SEED)
    rounds = 1 + KILLS // 40
    text = b"".join(nanochat(rounds))
    logs = folder / "logs"
    writers = [
        Writer(logs / "renamed.log", text, "rename", chance),
        Writer(logs / "copied.log", text, "copytruncate", chance),
        Writer(logs / "packed.log", text, "gzip", chance),
        Writer(logs / "slurm-7.out", (DATA / "base_train_slow.log").read_bytes()[:-20_000], "", chance),
        Writer(logs / "slurm-7.err", b"a warning\n" * 50, "", chance),
    ]
    calm, killed = (Exporter(folder / name, [logs], config=CONFIG) for name in ("calm", "killed"))
    try:
        for writer in writers:
            writer.path.write_bytes(b"a log that both have seen\n" * 50)
        for exporter in (calm, killed):
            exporter.start()
            until(partial(at_end, exporter))
            until(lambda e=exporter: len(list(e.state.glob(f"*{ENDING}"))) == 4)
        killed.kill()
        for kill in range(KILLS):
            killed.start(wait=False)
            end = time.monotonic() + chance.uniform(0.0, SLOWEST_KILL_S)
            while time.monotonic() < end:
                for writer in chance.sample(writers, 2):
                    writer.write(chance.randrange(1, 2 * max(1, writer.left // (5 * (KILLS - kill)))))
                time.sleep(0.02)
            killed.kill()
            if kill % REST == REST - 1:
                catch_up(killed)
        killed.start()
        for writer in writers:
            writer.write(writer.left)
        for exporter in (calm, killed):
            until(partial(at_end, exporter))
        with writers[-1].path.open("ab") as file:
            file.write(TIME_LIMIT)
        until_equal(calm, killed)
        metrics = quiet(calm)
        for exporter in (calm, killed):
            assert exporter.stop() == 0
    finally:
        for exporter in (calm, killed):
            if exporter.process is not None:
                exporter.process.send_signal(signal.SIGKILL)
                exporter.process.wait()
    one, other = states(killed), states(calm)
    assert set(one) == set(other) == {"renamed", "copied", "packed", "slurm-7"}
    for name in one:
        for part in one[name]:
            assert one[name][part] == other[name][part], f"{name}: {part}"
    truth = folder / "whole.log"
    truth.write_bytes(text)
    whole = read_run(str(truth), Config())
    for name in ("renamed", "copied", "packed"):
        assert one[name]["event_counts"] == sorted([k, int(s), n] for (k, s), n in whole.event_counts.items() if n)
        assert one[name]["failure_counts"] == {k: n for k, n in whole.failure_counts.items() if n}
        assert one[name]["order"] == json.loads(json.dumps(whole.order.state()))
    assert "Traceback" not in killed.log.read_text()
    rotations = sum(w.rotations for w in writers)
    steps = whole.order.steps_seen
    print(f"\n{KILLS} kills, {rotations} rotations, {len(text) >> 10} kB a log, {whole.runs} runs, {steps} steps seen")
    print(f"{len(metrics)} series equal, {sum(whole.event_counts.values())} events of each log, none lost, none twice")


def catch_up(exporter: Exporter) -> None:
    """A life in between that lasts until all is read and saved."""
    exporter.start(wait=False)
    until(partial(at_end, exporter))
    assert exporter.stop() == 0


def until_equal(calm: Exporter, killed: Exporter) -> None:
    try:
        until(lambda: quiet(calm) == quiet(killed), 20.0)
    except AssertionError:
        one, other = set(quiet(calm).items()), set(quiet(killed).items())
        raise AssertionError(f"never killed: {sorted(one - other)}\nkilled: {sorted(other - one)}") from None


def quiet(exporter: Exporter) -> dict[str, str]:
    """The series that do not tell of times."""
    return {name: repr(v) for name, v in exporter.metrics().items() if not TIMES.match(name)}


def at_end(exporter: Exporter) -> bool:
    """Everything that was written has been read."""
    if exporter.status("/metrics") != 200:
        return False
    lags = {k: v for k, v in exporter.metrics().items() if k.startswith("training_monitor_source_lag_bytes")}
    return len(lags) == 5 and not any(lags.values())


def states(exporter: Exporter) -> dict[str, dict[str, Any]]:
    """What was saved of each run at the end, but for the times at which its bytes were seen."""
    store = Store(str(exporter.state))
    found = {}
    for saved in store.index():
        run = store.load(saved.key)["run"]
        for name in ("last_change", "last_step_time", "failed_in", "led_at"):
            del run[name]
        del run["engine"]["stall"], run["estimator"]["wall_"], run["estimator"]["pauses"]
        run["event_counts"] = sorted(row for row in run["event_counts"] if row[2])
        run["failure_counts"] = {k: n for k, n in run["failure_counts"].items() if n}
        found[saved.key] = json.loads(json.dumps(run), parse_constant=str)
    return found
