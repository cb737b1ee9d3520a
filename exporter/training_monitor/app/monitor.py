"""Watches all sources and keeps their runs: one thread reads, any thread may look.

Order of one round: what changed is read → records go into runs → time passes for every run → state is saved. A scrape
sees a consistent picture because runs change only under `_lock`; reading from a file, which may hang, holds no lock.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from training_monitor.app.feed import Feed
from training_monitor.app.naming import run_name, unique
from training_monitor.app.offline import goals_of, reference, settings_of
from training_monitor.app.store import Store
from training_monitor.clock import Clock, SystemClock
from training_monitor.config import Config
from training_monitor.expose.view import OwnStatus, View
from training_monitor.records import Event, Snapshot
from training_monitor.run import Run, restore, state_of
from training_monitor.tail.discovery import Candidate, Found, discover
from training_monitor.tail.watch import Watcher

log = logging.getLogger(__name__)
TICK_S = 1.0
RESCAN_AT_MOST_S = 1.0  # a folder in which files come and go all the time is searched this often
#: Bytes read from one source before the next one has its turn.
TURN = 4 << 20


class Monitor:
    """All runs under the given paths, kept up to date by `run` in the caller's thread."""

    def __init__(
        self,
        paths: Sequence[str],
        config: Config,
        *,
        state_dir: str | None = None,
        clock: Clock | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        on_event: Callable[[Run, Event], None] | None = None,
    ) -> None:
        self.paths, self.config = tuple(paths) or config.paths, config
        self.clock = clock or SystemClock()
        self.env, self.cwd = os.environ if env is None else env, cwd or os.getcwd()
        self.store = Store(state_dir or config.state_dir)
        self.feeds: dict[str, Feed] = {}
        self.runs: dict[str, Run] = {}
        self.ready = False
        self.found: Found | None = None
        self._on_event = on_event or log_event
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._watcher = Watcher(poll_s=config.poll_s)
        self._unseen: set[str] = set()  # runs that were found but not read to their end yet
        self._scan_wanted = False  # a watched folder has new entries
        self._dirty: set[str] = set()  # runs changed since their last save
        self._saved_at = self._ticked_at = self._scanned_at = self.clock.monotonic()
        self._saved: dict[str, dict[str, Any]] = {}  # states found at the start, by path, until their source is found

    # -- the reading thread -------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Catches up, then follows until `stop`; saves everything at the end."""
        self.start()
        while not self._stop.is_set():
            self.round(self.wait(TICK_S))
        self.save(everything=True)
        self.close()

    def wait(self, timeout_s: float) -> set[str]:
        """Paths that may have changed; empty after `timeout_s` seconds or `stop`."""
        return self._watcher.wait(timeout_s)

    def close(self) -> None:
        """Lets go of all files."""
        self._watcher.close()
        for feed in self.feeds.values():
            feed.tail.close()

    def start(self) -> None:
        """Restores what was saved and reads everything that is there."""
        for key, state in self.store.load():
            for feed in state.get("feeds", ()):
                self._saved[feed["path"]] = {"key": key, **state}
        self.rescan()
        assert self.found is not None
        for note in self.found.notes:
            log.info(note)
        while not self._stop.is_set() and self._read(list(self.feeds)):
            self._save_if_due()
        self._greet()
        self.ready = True
        self.tick()

    def stop(self) -> None:
        """Ends `run` soon; may be called from any thread or a signal handler."""
        self._stop.set()
        self._watcher.wake()

    def round(self, changed: set[str]) -> None:
        """Reads what changed, lets time pass, looks for new files, saves: each when it is due."""
        self._scan_wanted = self._scan_wanted or any(path not in self.feeds for path in changed)
        age = self.clock.monotonic() - self._scanned_at
        if age >= self.config.rescan_s or (self._scan_wanted and age >= RESCAN_AT_MOST_S):
            changed |= self.rescan()
        while self._read([path for path in changed if path in self.feeds]) and not self._stop.is_set():
            pass
        self._greet()
        if self.clock.monotonic() - self._ticked_at >= TICK_S:
            self.tick()
        self._save_if_due()

    def _greet(self) -> None:
        """Tells runs that were read for the first time what time it is."""
        for name in self._unseen:
            with self._lock:
                self.runs[name].found(self.clock.now())
        self._unseen.clear()

    def _read(self, paths: Sequence[str]) -> bool:
        """Gives each source its turn; True if any of them may have more."""
        more = False
        for path in paths:
            feed, read = self.feeds[path], 0
            while read < TURN and not self._stop.is_set():
                chunk = feed.read()
                if chunk is None:
                    break
                read += len(chunk.data)
                with self._lock:
                    events = feed.take(chunk)
                self._dirty.add(feed.run.name)
                self._tell(feed.run, events)
            else:
                more = True
        return more

    def tick(self) -> None:
        """Time passes for every run."""
        self._ticked_at, now = self.clock.monotonic(), self.clock.now()
        for run in list(self.runs.values()):
            with self._lock:
                events = run.tick(now)
            self._tell(run, events)
            if events:
                self._dirty.add(run.name)

    def _tell(self, run: Run, events: Sequence[Event]) -> None:
        for event in events:
            self._on_event(run, event)

    # -- sources ------------------------------------------------------------------------------------------------------

    def rescan(self) -> set[str]:
        """Looks for new sources; gives the paths of the new ones."""
        self._scanned_at, self._scan_wanted = self.clock.monotonic(), False
        self.found = discover(self.paths, env=self.env, cwd=self.cwd)
        new = [c for c in self.found.candidates if c.path not in self.feeds]
        for candidate in new:
            self._add(candidate)
        for folder in self.found.folders:
            self._watcher.add(folder, is_folder=True)
        return {c.path for c in new}

    def _add(self, candidate: Candidate) -> None:
        saved = self._saved.pop(candidate.path, None)
        run = self._run_for(candidate, saved)
        if run.name not in self.runs:
            self._unseen.add(run.name)
        feed = Feed(candidate.path, candidate.kind, run, format=self.config.format, regex=self.config.regex)
        if saved is not None:
            self._restore(feed, saved)
        with self._lock:
            self.feeds[candidate.path] = feed
            self.runs.setdefault(feed.run.name, feed.run)
        self._watcher.add(candidate.path)

    def _run_for(self, candidate: Candidate, saved: dict[str, Any] | None) -> Run:
        """The run that this source tells of: a saved one, one of the same stem in the same folder, or a new one."""
        name = run_name(candidate.path, self.paths or (self.cwd,), self.config.names)
        for other in self.feeds.values():
            if other.run.name == name and os.path.dirname(other.path) == os.path.dirname(candidate.path):
                return other.run
        name = unique(name, candidate.path, self.runs) if saved is None else saved["key"]
        return self.runs.get(name) or self._new_run(name, candidate.path)

    def _new_run(self, name: str, path: str) -> Run:
        settings = self.config.of(name)
        return Run(
            name,
            path,
            thresholds=settings.thresholds,
            settings=settings_of(settings),
            goals=goals_of(settings, reference(settings.baseline, self.config)),
        )

    def _restore(self, feed: Feed, saved: dict[str, Any]) -> None:
        """Goes on where the saved state stopped, or from the start where it cannot be used."""
        try:
            if feed.run.name not in self.runs:
                restore(feed.run, saved["run"])
            self._unseen.discard(feed.run.name)
            feed.restore(next(f for f in saved["feeds"] if f["path"] == feed.path))
        except (KeyError, TypeError, ValueError, StopIteration, AttributeError, IndexError) as e:
            log.error(
                "%s: its saved state cannot be used (%s: %s); read from the start", feed.path, type(e).__name__, e
            )
            self.store.discard(self.store.path(saved["key"]))
            feed.run = self._new_run(feed.run.name, feed.path)
            feed.reset()

    # -- state --------------------------------------------------------------------------------------------------------

    def _save_if_due(self) -> None:
        if self._dirty and self.clock.monotonic() - self._saved_at >= self.config.save_s:
            self.save()

    def save(self, *, everything: bool = False) -> None:
        """Saves the runs that changed: offset and detectors of each in one file."""
        self._saved_at = self.clock.monotonic()
        names = set(self.runs) if everything else set(self._dirty)
        for name in names:
            run = self.runs[name]
            feeds = [f for f in self.feeds.values() if f.run is run]
            state = {"run": state_of(run), "feeds": [f.state() for f in feeds]}
            if self.store.save(name, state) or self.store.folder is None:
                self._dirty.discard(name)

    # -- looking ------------------------------------------------------------------------------------------------------

    def snapshots(self, *, expired: bool = False) -> list[Snapshot]:
        """Every run that is to be shown, in the order of their names; with `expired` also those of long ago."""
        now = self.clock.now()
        with self._lock:
            shown = [name for name in sorted(self.runs) if expired or not self._expired(self.runs[name], now)]
            return [self.runs[name].snapshot(now) for name in shown]

    def view(self) -> View:
        """What a scrape sees."""
        snapshots = self.snapshots()
        shown = {s.run for s in snapshots}
        with self._lock:
            sources = [f.status for f in self.feeds.values() if f.run.name in shown]
        own = OwnStatus(
            state_saves=self.store.saves,
            state_save_failures=self.store.failures,
            skipped_files=dict(self.found.skipped) if self.found else {},
        )
        return View(snapshots, sources, self.ready, self.config.default.thresholds.table(), own)

    def _expired(self, run: Run, now: float) -> bool:
        """A run that is over, or whose files are gone, is shown for a while only."""
        if run.last_change is None or now - run.last_change <= self.config.expire_s:
            return False
        return run.state in ("finished", "crashed", "stalled", "waiting")


def log_event(run: Run, event: Event) -> None:
    """Writes an event to the exporter's own log."""
    level = {1: logging.INFO, 2: logging.WARNING, 3: logging.ERROR}[event.severity]
    fields = {"run": run.name, "kind": event.kind, "severity": event.severity.label, "step": event.step}
    log.log(level, event.message, extra={"fields": fields})
