"""A run with the sources it is read from: what is read, saved and shown together, under one lock."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from typing import Any

from training_monitor.app.feed import Feed
from training_monitor.records import Chunk, Event, Failure, Snapshot
from training_monitor.run import Run, restore, state_of

QUIET_S = 5.0  # so often a run that says nothing is asked whether that is a stall: five minutes is the shortest

REFIT_S = 10.0  # seconds between two estimates of the final loss of a run


class Tracked:
    """One run. Its lock is held for one chunk or one look at a time, never while a file is touched."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.lock = threading.Lock()
        self.feeds: list[Feed] = []
        self.absent: dict[str, dict[str, Any]] = {}  # saved states of sources that have not been found again
        self.was_restored = False
        self._was_read = False
        self.is_dirty = False  # changed since the last save
        self._quiet_since: float | None = None  # unix seconds: last look at the time, nothing has come since
        self._skew_s = 0.0  # by which the clock was set forward since the run was heard last
        self._snapshot: Snapshot | None = None  # None: out of date
        self.estimated_at = -math.inf  # unix seconds

    @property
    def name(self) -> str:
        return self.run.name

    # -- the reading threads ------------------------------------------------------------------------------------------

    def take(self, feed: Feed, generation: int, chunk: Chunk, now: float) -> list[Event]:
        """Feeds what was read; gives the events it raised. What was read before a reset is dropped."""
        with self.lock:
            if generation != feed.generation:
                return []
            self._change(now)
            self._skew_s = 0.0
            return feed.take(_dated(chunk, now, is_live=feed.was_read))

    def writer_gone(self, failure: Failure, now: float) -> list[Event]:
        """The process that wrote the only sources of this run is gone; the events that follow."""
        with self.lock:
            if self.run.state not in ("running", "stalled", "waiting"):
                return []
            self._change(now)
            return self.run.feed([failure], now, self.feeds[0].path)

    @property
    def is_wandb(self) -> bool:
        """Known from W&B alone."""
        return all(feed.kind.startswith("wandb") for feed in self.feeds)

    def caught_up(self, feed: Feed, now: float) -> None:
        """`feed` was read to its present end."""
        with self.lock:
            is_first = not self.was_read
            feed.is_current = feed.was_read = True
            self._was_read = self._was_read or all(feed.was_read for feed in self.feeds)
            if is_first and self.was_read and not self.was_restored:
                self.run.found(now)
                self._change(now)

    # -- time, configuration, state -----------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Event]:
        """Time passes. It stands still for a run whose steps cannot be read at present: nobody knows what it does."""
        if self._quiet_since is not None and 0 <= now - self._quiet_since < QUIET_S:
            return []
        with self.lock:
            if not all(feed.is_current for feed in self.feeds) or self._is_blind():
                return []
            judged = self.run.engine.outside  # budget and baseline: the only conditions that time alone can close
            before = judged.copy()
            events = self.run.tick(now - self._skew_s)
            if events or judged != before:
                self._change(now)
            else:
                self._quiet_since = now
            return events

    def _is_blind(self) -> bool:
        """No source can be read, or not the one that tells the steps."""
        blind = [feed.path for feed in self.feeds if feed.problem]
        return len(blind) == len(self.feeds) or self.run.leader in blind

    def clock_jumped(self, seconds: float) -> None:
        """The clock was set, or the machine slept: that is no silence of the run."""
        with self.lock:
            self._quiet_since = None
            self._skew_s += seconds

    def renew(self, new: Callable[[], Run]) -> None:
        """Moves everything known into a new run, which has another configuration. Raises as `run.restore`."""
        with self.lock:
            run = new()
            restore(run, json.loads(json.dumps(state_of(self.run))))
            self._use(run)

    def reset(self, run: Run) -> None:
        """Starts over with a fresh run: all sources are read from their start."""
        with self.lock:
            self.absent.clear()
            self.was_restored = self._was_read = False
            for feed in self.feeds:
                feed.reset()
            self._use(run)

    def _use(self, run: Run) -> None:
        self.run, self.is_dirty, self._snapshot, self._quiet_since = run, True, None, None
        for feed in self.feeds:
            feed.run = run

    def _change(self, now: float) -> None:
        self.is_dirty, self._snapshot, self._quiet_since = True, None, None

    def dumped(self) -> str:
        """The state of the run and the places in its sources, of one moment, as JSON."""
        with self.lock:
            self.is_dirty = False
            feeds = [*(feed.state() for feed in self.feeds), *self.absent.values()]
            return json.dumps({"run": state_of(self.run), "feeds": feeds}, separators=(",", ":"))

    # -- looking ------------------------------------------------------------------------------------------------------

    @property
    def was_read(self) -> bool:
        """All that there was has been read once; before that the run is a torso that nobody should see.

        A source that joins later, and may hang, does not hide what is known.
        """
        return self.was_restored or self._was_read

    @property
    def is_whole(self) -> bool:
        """What is known belongs together and can be saved; not so during the first catch-up, or after an error."""
        return self.was_read and not any(feed.broken for feed in self.feeds)

    def is_expired(self, now: float, after_s: float) -> bool:
        """The run is over, or silent, for so long that it is not shown any more."""
        changed = self.run.last_change
        if changed is None or now - changed <= after_s:
            return False
        return self.run.state in ("finished", "crashed", "stalled", "waiting")

    def snapshot(self, now: float) -> Snapshot:
        """Everything known of the run; made anew only if the run has changed."""
        kept = self._snapshot
        if kept is not None:
            return kept
        with self.lock:
            made = self._snapshot = self.run.snapshot(now)
        return made

    def is_estimate_due(self, now: float) -> bool:
        """The final loss was estimated a while ago, and steps have come since."""
        return self.was_read and self.run.order.last != self.run.estimated_at and now - self.estimated_at >= REFIT_S

    def estimate(self, now: float) -> None:
        """Estimates the final loss anew."""
        with self.lock:
            self.estimated_at, self._snapshot = now, None
            self.run.estimate()


def _dated(chunk: Any, now: float, *, is_live: bool) -> Any:
    """The chunk with the time at which it was written, by this machine's clock.

    A file server's clock may be wrong by hours, so that what is seen to come is dated by its coming; only what was
    written before anybody looked is dated by the file system, and never in the future.
    """
    if not isinstance(chunk, Chunk):  # a poll: dated already
        return chunk
    return chunk._replace(mtime=now if is_live else min(chunk.mtime, now))
