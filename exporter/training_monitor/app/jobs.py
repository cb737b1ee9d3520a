"""What runs in lanes: reading a source, looking for sources, estimating, saving."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from training_monitor.app.feed import Feed
from training_monitor.app.roster import Roster
from training_monitor.app.tracked import Tracked
from training_monitor.clock import Clock
from training_monitor.records import Chunk
from training_monitor.tail.discovery import Found, discover

log = logging.getLogger(__name__)
TURN_S = 0.05  # CPU seconds of saving at a turn
ESTIMATE_S = 0.02  # CPU seconds of estimating in each second: of 1,000 runs that all move it takes minutes


class Taker(Protocol):
    """Who takes what was read."""

    @property
    def is_crowded(self) -> bool: ...

    def took(self, feed: Feed, generation: int, chunk: Chunk | None) -> bool: ...

    def begins_anew(self, feed: Feed, error: Exception) -> bool: ...


class Reading:
    """Reads a source, a chunk at a turn, until nothing more is there."""

    def __init__(self, feed: Feed, lane: str, taker: Taker) -> None:
        self.feed, self.lane = feed, lane
        self._taker = taker

    def fetch(self) -> tuple[int, Chunk | None]:
        feed = self.feed
        if feed.broken:
            return feed.generation, None
        generation, chunk = feed.generation, feed.read()
        if chunk is None:
            feed.rest(is_crowded=self._taker.is_crowded)
        return generation, chunk

    def take(self, found: tuple[int, Chunk | None]) -> bool:
        try:
            return self._taker.took(self.feed, *found)
        except Exception as e:
            if self._taker.begins_anew(self.feed, e):
                return True
            log.exception("%s: internal error; it is not read any more", ascii(self.feed.path))
            self.feed.broken = f"{self.feed.path!r}: internal error, see the exporter's log; other logs go on"
            return False


class Searching:
    """Looks for sources under the paths that lie on one file system."""

    def __init__(self, env: Mapping[str, str], cwd: str, on_news: Callable[[], None]) -> None:
        self._env, self._cwd, self._on_news = env, cwd, on_news
        self.paths: tuple[str, ...] = ()
        self.found: Found | None = None
        self.is_fresh = False  # found something that nobody has looked at
        self.took_s = 0.0

    def fetch(self) -> Found:
        started = time.thread_time()
        found = discover(self.paths, env=self._env, cwd=self._cwd)
        self.took_s = time.thread_time() - started
        return found

    def take(self, found: Found) -> bool:
        self.found, self.is_fresh = found, True
        self._on_news()
        return False


class Estimating:
    """Estimates the final loss of the runs that moved on, the longest waiting first, for a moment at a turn."""

    def __init__(self, roster: Roster, clock: Clock) -> None:
        self._roster, self._clock = roster, clock

    def wanted(self) -> list[Tracked]:
        """The runs whose estimate is old."""
        now = self._clock.now()
        return [t for t in self._roster.runs.copy().values() if t.is_estimate_due(now)]

    def fetch(self) -> None:
        started = time.thread_time()
        for tracked in sorted(self.wanted(), key=lambda t: t.estimated_at):
            tracked.estimate(self._clock.now())
            if time.thread_time() - started > ESTIMATE_S:
                return

    def take(self, found: None) -> bool:
        return False


class Saving:
    """Saves every run that changed since its last save, some at a turn."""

    def __init__(self, roster: Roster, clock: Clock) -> None:
        self._roster, self._clock = roster, clock
        self._todo: list[Tracked] = []
        self._is_synced = True
        self._spent_s = 0.0
        self.took_s = 0.0  # CPU seconds of the last pass over all runs

    def wanted(self) -> list[Tracked]:
        """The runs that changed."""
        return [t for t in self._roster.runs.copy().values() if t.is_dirty and t.is_whole]

    def fetch(self) -> None:
        started = time.thread_time()
        store = self._roster.store
        if not self._todo:
            self._spent_s = 0.0
            self._todo = self.wanted()
        while self._todo and time.thread_time() - started < TURN_S:
            tracked = self._todo.pop()
            paths = [feed.path for feed in tracked.feeds.copy()] + list(tracked.absent)
            if store.save(tracked.name, tracked.dumped(), paths=paths, at=self._clock.now()):
                self._is_synced = False
            else:
                tracked.is_dirty = True
        if not self._todo and not self._is_synced:
            store.sync()
            self._is_synced = True
        self._spent_s += time.thread_time() - started
        self.took_s = self._spent_s

    def take(self, found: None) -> bool:
        return bool(self._todo)
