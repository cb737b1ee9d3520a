"""All troubles in any order: kills, full disks, clocks, permissions, rotations. What the log says is counted once.

`make soak` runs this file with TROUBLES=200 sequences instead of some. A seed decides on everything.
"""

from __future__ import annotations

import gzip
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import training_monitor.tail.generations  # noqa: F401  here: nobody may not read Python's own files everywhere
from training_monitor.app.monitor import Monitor
from training_monitor.clock import FakeClock
from training_monitor.config import parse

SEQUENCES = int(os.environ.get("TROUBLES", "6"))
ACTIONS = 60  # of one sequence
LOG = (Path(__file__).parent.parent / "data/nanochat/base_train_spike.log").read_bytes()
NOBODY = 65534  # root may read everything, and fills a disk to its last byte


class Clock(FakeClock):
    """A clock that somebody sets."""

    set_by = 0.0

    def now(self) -> float:
        return super().now() + self.set_by


class World:
    """A log that is written and rotated, the monitor that follows it, and what happens to both."""

    def __init__(self, folder: Path, state: Path, seed: int) -> None:
        self.chance, self.clock = random.Random(seed), Clock()
        self.logs, self.disk = folder / "logs", state
        self.path, self.written, self.rotations = self.logs / "train.log", 0, 0
        self.happened: list[str] = []
        self.logs.mkdir()
        self.path.touch()
        self._begin()

    def _begin(self) -> None:
        self.monitor = Monitor(
            [str(self.logs)],
            parse(""),
            state_dir=str(self.disk / "state"),
            clock=self.clock,
            on_event=lambda r, e: None,
        )
        self.monitor.start()

    def something_happens(self) -> None:
        name = self.chance.choice((*["write"] * 6, *["look"] * 6, *TROUBLES))
        self.happened.append(name)
        getattr(self, name)()

    def write(self) -> None:
        size = self.chance.randrange(1, 20_000)
        if self.path.exists() or os.access(self.logs, os.W_OK):
            with self.path.open("ab") as file:
                file.write(LOG[self.written : self.written + size])
            self.written = min(len(LOG), self.written + size)

    def look(self) -> None:
        self.clock.advance(self.chance.choice((0.1, 1.0, 15.0)))
        self.monitor.rescan()
        assert self.monitor.settle()
        self.monitor.round(set(self.monitor.roster.feeds))
        assert self.monitor.settle()
        self.monitor.view()

    def is_killed(self) -> None:
        """Not where the first lines were rotated away before a place in them was saved: nobody looks for them."""
        if not self.rotations or self._saved_offset() > 0:
            self.monitor.close()
            self._begin()

    def _saved_offset(self) -> int:
        store = self.monitor.store
        return max((store.load(saved.key)["feeds"][0]["tail"]["offset"] for saved in store.index()), default=0)

    def is_rotated(self) -> None:
        self._rename("")

    def is_packed(self) -> None:
        self._rename(".gz")

    def _rename(self, ending: str) -> None:
        """Not before the first byte was read: an empty file cannot be told from another one after a kill."""
        if self.monitor.roster.feeds[str(self.path)].tail.state()["offset"] == 0:
            return
        for n in range(self.rotations, 0, -1):
            for end in ("", ".gz"):
                with suppress(FileNotFoundError):
                    self.path.with_name(f"train.log.{n}{end}").rename(self.path.with_name(f"train.log.{n + 1}{end}"))
        first = self.path.with_name("train.log.1")
        self.path.rename(first)
        if ending:
            first.with_name("train.log.1.gz").write_bytes(gzip.compress(first.read_bytes()))
            first.unlink()
        self.rotations += 1
        self.path.touch()

    def disk_is_full(self) -> None:
        with (self.disk / "filler").open("ab", buffering=0) as file:
            while True:
                try:
                    file.write(b"x" * 1024)
                except OSError:
                    return

    def disk_is_empty(self) -> None:
        (self.disk / "filler").unlink(missing_ok=True)

    def state_is_removed(self) -> None:
        shutil.rmtree(self.disk / "state", ignore_errors=True)

    def permission_is_lost(self) -> None:
        """Looked at, and given back before anything else happens: nobody could write meanwhile either."""
        self.path.chmod(0)
        self.look()
        self.path.chmod(0o600)

    def clock_is_set(self) -> None:
        self.clock.set_by += self.chance.choice((-86_400.0, -60.0, 60.0, 3600.0, 400 * 86_400.0))


TROUBLES = (
    *("is_killed", "is_rotated", "is_packed", "disk_is_full", "disk_is_empty", "state_is_removed"),
    *("permission_is_lost", "clock_is_set"),
)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp())
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def disk(folder: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    place = folder / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a small file system can only be mounted by root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What the log says to a monitor to which nothing happens."""
    path = tmp_path_factory.mktemp("calm") / "train.log"
    path.write_bytes(LOG)
    monitor = Monitor([str(path)], parse(""), clock=FakeClock(), on_event=quiet)
    monitor.start()
    monitor.view()  # imports what a view needs
    found = counts(monitor)
    monitor.close()
    return found


def quiet(run: object, event: object) -> None:
    """Events are counted, not told."""


def counts(monitor: Monitor) -> dict:
    run = monitor.roster.runs["train"].run
    kinds = {key: n for key, n in run.event_counts.items() if n and key[0] != "stalled"}  # that hangs on the clock
    return {**kinds, "steps": run.order.steps_seen, "last": run.order.last, "best": run.best_loss}


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_whatever_happens_in_whatever_order_every_step_is_counted_once(folder, disk, as_nobody, truth, seed):
    world = World(folder, disk, seed)
    try:
        for _ in range(ACTIONS):
            world.something_happens()
        world.disk_is_empty()
        while world.written < len(LOG):
            world.write()
        world.look()
        world.look()
        assert counts(world.monitor) == truth, world.happened
        assert world.monitor.view().sources[0].lost_bytes == 0
    finally:
        world.monitor.close()
