"""Keeps a file system that hangs (an NFS server that does not answer) from holding up everything else.

Whatever touches a network mount runs in the one thread of that mount, its lane. The caller waits for it `patience_s` at
most; after that the lane counts as hanging and nobody waits for it again until it has answered. Local files are read in
the caller's thread. A hanging thread cannot be ended, but it does not keep the process from ending either.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from training_monitor.records import Chunk
from training_monitor.tail.file import FileTail
from training_monitor.tail.mounts import Mounts
from training_monitor.tail.problem import shown

T = TypeVar("T")


class Lane:
    """One thread that does one thing after another for one mount."""

    def __init__(self, mount: str, patience_s: float) -> None:
        self.mount, self.patience_s = mount, patience_s
        self._tasks: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._late: Future[Any] | None = None  # what a caller has waited for in vain
        threading.Thread(target=self._work, name=f"lane {mount}", daemon=True).start()

    @property
    def is_hanging(self) -> bool:
        return self._late is not None and not self._late.done()

    def submit(self, task: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._tasks.put((future, task))
        return future

    def wait(self, future: Future[T]) -> T:
        """The answer. Raises NotYet if it does not come in time, or at once while the lane is hanging."""
        try:
            return future.result(0 if self.is_hanging else self.patience_s)
        except NotYet:
            if not self.is_hanging:
                self._late = future
            raise

    def _work(self) -> None:
        while True:
            future, task = self._tasks.get()
            try:
                future.set_result(task())
            except BaseException as error:  # noqa: BLE001  raised where the answer is taken
                future.set_exception(error)


class Lanes:
    """The lanes of this machine, one for each network mount that is used."""

    def __init__(self, *, patience_s: float = 1.0, mounts: Mounts | None = None) -> None:
        self.patience_s = patience_s
        self._mounts = mounts or Mounts.read()
        self._lanes: dict[str, Lane] = {}

    def of(self, path: str) -> Lane | None:
        """The lane for `path`, None if it is local."""
        mount = self._mounts.network(path)
        if mount is None:
            return None
        if mount not in self._lanes:
            self._lanes[mount] = Lane(mount, self.patience_s)
        return self._lanes[mount]

    def tail(self, path: str, *, from_end: bool = False) -> FileTail:
        """A tail of `path` that blocks its reader no longer than the patience."""
        lane = self.of(path)
        return FileTail(path, from_end=from_end) if lane is None else LaneTail(path, lane, from_end=from_end)

    def ask(self, path: str, task: Callable[[], T], otherwise: T) -> T:
        """The result of `task`, which touches `path`; `otherwise` while its mount is hanging."""
        lane = self.of(path)
        if lane is None:
            return task()
        if lane.is_hanging:
            return otherwise
        try:
            return lane.wait(lane.submit(task))
        except NotYet:
            return otherwise


class LaneTail(FileTail):
    """A `FileTail` that reads in a lane. `state` is that of the bytes handed out, whatever the lane is doing."""

    def __init__(self, path: str | os.PathLike[str], lane: Lane, *, from_end: bool = False) -> None:
        super().__init__(path, from_end=from_end)
        self._lane = lane
        self._reading: Future[Chunk | None] | None = None
        self._state_before: dict[str, Any] = {}

    def read(self, limit: int = 1 << 20) -> Chunk | None:
        """As `FileTail.read`; None with a `problem` while the file system does not answer."""
        if self._reading is None:
            if self._lane.is_hanging:
                self.problem = self._complaint
                return None
            self._state_before = super().state()
            self._reading = self._lane.submit(partial(super().read, limit))
        try:
            chunk = self._lane.wait(self._reading)
        except NotYet:
            self.problem = self._complaint
            return None
        self._reading = None
        if self.problem == self._complaint:
            self.problem = None
        return chunk

    def state(self) -> dict[str, Any]:
        return super().state() if self._reading is None else self._state_before

    def restore(self, state: dict[str, Any]) -> None:
        """Only before the first `read`."""
        super().restore(state)

    def close(self) -> None:
        if self._reading is None:
            super().close()
        else:
            self._lane.submit(super().close)

    @property
    def _complaint(self) -> str:
        return f"{shown(self.path)}: {shown(self._lane.mount)} does not answer; reading goes on when it does"
