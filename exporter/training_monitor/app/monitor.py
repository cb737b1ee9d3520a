"""Watches all sources and keeps their runs.

The caller's thread waits for changes and lets time pass. What touches a watched file system or the state folder runs
in lanes (`lanes.py`), where it may hang without holding up anything else. A scrape sees each run as it is between two
chunks of its log.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from training_monitor.app.feed import Feed
from training_monitor.app.jobs import Estimating, Reading, Saving, Searching
from training_monitor.app.lanes import Lanes
from training_monitor.app.polled import PolledFeed, cloud_candidates
from training_monitor.app.roster import Roster
from training_monitor.app.store import UNUSABLE, Store
from training_monitor.app.tracked import Tracked
from training_monitor.clock import Clock, SystemClock
from training_monitor.config import Config
from training_monitor.errors import MonitorError
from training_monitor.expose.view import OwnStatus, View
from training_monitor.records import Chunk, Event, Snapshot
from training_monitor.run import Run
from training_monitor.tail.discovery import Candidate, Found
from training_monitor.tail.mounts import Mounts
from training_monitor.tail.wandb_live import WandbWriters
from training_monitor.tail.watch import Watcher

log = logging.getLogger(__name__)
TICK_S = 1.0
RESCAN_AT_MOST_S = 1.0  # a folder in which files come and go all the time is searched this often
#: A search, or a save of all changed runs, that took t seconds is repeated after 20 t at the earliest: 5 % of a core.
REST = 20.0
JUMP_S = 5.0  # by so much the wall clock does not drift between two ticks: it was set, or the machine slept
START_S = 10.0  # so long the first answer waits for file systems that hang
STOP_S = 5.0  # so long the end waits for the last save


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
        load: Callable[[], Config] | None = None,
        mounts: Mounts | None = None,
    ) -> None:
        """`on_event` is called in any thread. `load` gives the configuration anew when a reload is asked for.

        `state_dir` is for the exporter alone: who only looks must not save beside it.
        """
        self.clock = clock or SystemClock()
        self.env, self.cwd = os.environ if env is None else env, cwd or os.getcwd()
        self._given_paths, self.config = tuple(paths), config
        self.store = Store(state_dir)
        self.roster = Roster(config, self.store, self.paths or (self.cwd,), self.clock, self.env)
        cloud_candidates(config, self.env)  # raises if an address is none
        self.ready = False
        self._on_event, self._load = on_event or log_event, load
        self._given_mounts = mounts
        self._mounts = mounts or Mounts.read()
        self._stop, self._reload_wanted = threading.Event(), threading.Event()
        self._watcher = Watcher(poll_s=config.poll_s, mounts=mounts)
        self._lanes, self._saver = Lanes(), Lanes()
        self._readings: dict[str, Reading] = {}
        self._searches: dict[str, Searching] = {}  # by mount
        self._saving = Saving(self.roster, self.clock)
        self._estimating = Estimating(self.roster, self.clock)
        self._writers = WandbWriters()
        self._folders: set[str] = set()
        self._scan_wanted = False  # a watched folder has new entries
        self._saved_at = self._ticked_at = self._scanned_at = self.clock.monotonic()
        self._reload_ok, self._reloaded_at = True, self.clock.now()
        self._wall_at_tick = self._reloaded_at
        self.found: Found | None = None  # by the last searches
        self._most_files = 512

    @property
    def paths(self) -> tuple[str, ...]:
        return self._given_paths or self.config.paths

    # -- the caller's thread ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Catches up, then follows until `stop`; saves what changed at the end."""
        self._most_files = raise_open_files() // 2
        self.start()
        gc.freeze()  # to look through 1,000 runs takes 0.3 s, in which nothing is read or answered; they are no garbage
        while not self._stop.is_set():
            try:
                self.round(self.wait(TICK_S))
            except Exception:
                log.exception("internal error; it was survived")
                self._stop.wait(TICK_S)
        self._lanes.close(TICK_S)
        self.save()
        if not self._saver.settle(STOP_S):
            log.error("the state folder does not answer; what was not saved is read again after a restart")
        self.close()

    def start(self) -> None:
        """Restores what was saved and reads everything that is there, but for what hangs."""
        self.roster.recall()
        self.rescan()
        end = time.monotonic() + START_S
        while not self._stop.is_set():
            settled = self._lanes.settle(0.2)
            if not self._take_searches() and settled:
                if not self._lanes.is_hanging() or time.monotonic() > end:
                    break
                self._stop.wait(0.05)
            self._save_if_due()
        for note in self.found.notes if self.found else ():
            log.info(note)
        self.tick()  # before the first answer: a stall that was not saved would be a counter that falls and climbs back
        self.ready = True
        self.save()

    def wait(self, timeout_s: float) -> set[str]:
        """Paths that may have changed; empty after `timeout_s` seconds or `stop`."""
        return self._watcher.wait(timeout_s)

    def round(self, changed: set[str]) -> None:
        """Has read what changed, lets time pass, looks for new files, saves: each when it is due."""
        self._take_searches()
        self._read(path for path in changed if path in self._readings)
        self._scan_wanted = self._scan_wanted or any(path not in self._readings for path in changed)
        age = self.clock.monotonic() - self._scanned_at
        pause = REST * max((search.took_s for search in self._searches.values()), default=0.0)
        if age >= max(self.config.rescan_s, pause) or (self._scan_wanted and age >= max(RESCAN_AT_MOST_S, pause)):
            self.rescan()
        if self._reload_wanted.is_set():
            self._reload()
        if self.clock.monotonic() - self._ticked_at >= TICK_S:
            self.tick()
            if self._estimating.wanted():
                self._saver.put("estimates", [self._estimating])
        self._save_if_due()

    def settle(self, timeout_s: float = 60.0) -> bool:
        """Waits until everything wanted so far is done or hangs; False if that takes too long."""
        end = time.monotonic() + timeout_s
        while self._lanes.settle(end - time.monotonic()):
            if not self._take_searches():
                return self._saver.settle(end - time.monotonic())
        return False

    @property
    def is_crowded(self) -> bool:
        """So many files are followed that idle ones are not kept open."""
        return len(self._readings) > self._most_files

    def stop(self) -> None:
        """Ends `run` soon; may be called from any thread or a signal handler."""
        self._stop.set()
        self._watcher.wake()

    def close(self) -> None:
        """Lets go of all files."""
        self._lanes.close(TICK_S)
        self._saver.close(TICK_S)
        self.store.close()
        self._watcher.close()
        for feed in self.roster.feeds.values():
            feed.close()

    # -- reading ------------------------------------------------------------------------------------------------------

    def _read(self, paths: Iterable[str]) -> None:
        """Wants what is new in these sources; the lanes do the rest."""
        by_lane: dict[str, list[Reading]] = {}
        for path in paths:
            reading = self._readings[path]
            reading.feed.is_current = False
            by_lane.setdefault(reading.lane, []).append(reading)
        for lane, readings in by_lane.items():
            self._lanes.put(lane, readings)

    def took(self, feed: Feed, generation: int, chunk: Chunk | None) -> bool:
        """Takes what a lane has read; True if there may be more. Called in the lane's thread."""
        tracked, now = self.roster.runs.get(feed.run.name), self.clock.now()
        if tracked is None:
            return False
        if chunk is not None:
            for event in tracked.take(feed, generation, chunk, now):
                self._on_event(tracked.run, event)
            if chunk.change == "rotated":
                self.save()  # the generation before may be deleted soon, and with it what a restart would read again
            return True  # at its end as well: the next generation of a rotated log may be there already
        tracked.caught_up(feed, now)
        return False

    def begins_anew(self, feed: Feed, error: Exception) -> bool:
        """Whether the run of `feed` is read from the start after this error. Called in the lane's thread."""
        tracked = self.roster.of(feed)
        if not self.roster.begin_anew(tracked, error):
            return False
        self._read(other.path for other in tracked.feeds.copy() if other is not feed)
        return True

    def tick(self) -> None:
        """Time passes for every run."""
        now, jump = self.clock.now(), self._clock_jump()
        self._lanes.help()
        for tracked in list(self.roster.runs.values()):
            if jump:
                tracked.clock_jumped(jump)
            for event in self._ticked(tracked, now):
                self._on_event(tracked.run, event)
        self._read(p for p, r in self._readings.items() if isinstance(r.feed, PolledFeed) and r.feed.is_due)
        for into, twin in self.roster.twins():
            self._unite(into, twin)
        alone = [
            path for path, feed in self.roster.feeds.items() if feed.kind == "wandb" and self.roster.of(feed).is_wandb
        ]
        for path, failure in self._writers.poll(alone, now).items() if alone else ():
            tracked = self.roster.of(self.roster.feeds[path])
            for event in tracked.writer_gone(failure, now):
                self._on_event(tracked.run, event)

    def _ticked(self, tracked: Tracked, now: float) -> list[Event]:
        try:
            return tracked.tick(now)
        except UNUSABLE as e:
            if not self.roster.begin_anew(tracked, e):
                raise
            self._read(feed.path for feed in tracked.feeds)
            return []

    def _clock_jump(self) -> float:
        """Seconds by which the wall clock has gone beside the monotonic one since the last tick; 0 if they agree."""
        now, monotonic = self.clock.now(), self.clock.monotonic()
        jump = (now - self._wall_at_tick) - (monotonic - self._ticked_at)
        self._wall_at_tick, self._ticked_at = now, monotonic
        return jump if abs(jump) > JUMP_S else 0.0

    def _unite(self, into: Tracked, twin: Tracked) -> None:
        """Goes on with two runs as one, which they are."""
        log.info("two sources tell of one run", extra={"fields": {"run": into.name, "also": twin.name}})
        candidates = self.roster.unite(into, twin)
        for candidate in candidates:
            self._watcher.remove(candidate.path)
            self._add(candidate)
        self._read(c.path for c in candidates)

    # -- sources ------------------------------------------------------------------------------------------------------

    def rescan(self) -> None:
        """Starts to look for new sources: each file system by itself."""
        self._scanned_at, self._scan_wanted = self.clock.monotonic(), False
        self._mounts = self._given_mounts or Mounts.read()
        by_mount: dict[str, list[str]] = {}
        for path in self.paths or ("",):
            by_mount.setdefault(self._mounts.network(os.path.join(self.cwd, path)) or "", []).append(path)
        for mount in self._searches.keys() - by_mount.keys():
            del self._searches[mount]
        for mount, paths in by_mount.items():
            search = self._searches.setdefault(mount, Searching(self.env, self.cwd, self._watcher.wake))
            search.paths = tuple(filter(None, paths))
            self._lanes.put(f"search {mount}", [search])

    def _take_searches(self) -> bool:
        """Follows what searches have found since the last time; True if there was any."""
        fresh = [search for search in self._searches.values() if search.is_fresh]
        for search in fresh:
            search.is_fresh = False
        if not fresh:
            return False
        found = self.found = merged([s.found for s in self._searches.values() if s.found is not None])
        known = [*found.candidates, *cloud_candidates(self.config, self.env)]
        new = [c for c in known if c.path not in self._readings]
        folders = set(found.folders) - self._readings.keys()  # not a log in whose place a folder lies at present
        for folder in self._folders - folders:
            self._watcher.remove(folder)
        for candidate in new:
            self._add(candidate)
        self._forget({c.path for c in known})
        for folder in folders:
            self._watcher.add(folder, is_folder=True)
        self._folders = folders
        self._read(c.path for c in new)
        return True

    def _add(self, candidate: Candidate) -> None:
        feed = self.roster.add(candidate)
        if isinstance(feed, PolledFeed):
            self._readings[feed.path] = Reading(feed, feed.path, self)
            return
        self._readings[feed.path] = Reading(feed, self._mounts.network(feed.path) or "", self)
        self._watcher.add(feed.path)

    def _forget(self, found: set[str]) -> None:
        """Lets go of runs that are over and whose files are gone."""
        now = self.clock.now()
        for path in self._readings.keys() - found:
            feed = self.roster.feeds[path]
            tracked = self.roster.of(feed)
            is_over = tracked.run.last_change is None or tracked.is_expired(now, self.config.expire_s)
            if is_over and feed.is_current and not feed.tail.exists:
                self.roster.remove(feed)
                self._watcher.remove(path)
                del self._readings[path]
        self.roster.forget_saved(now - self.config.expire_s)

    # -- state and configuration --------------------------------------------------------------------------------------

    def _save_if_due(self) -> None:
        pause = max(self.config.save_s, REST * self._saving.took_s)
        if self.clock.monotonic() - self._saved_at >= pause and self._saving.wanted():
            self.save()

    def save(self) -> None:
        """Has every run saved that changed."""
        self._saved_at = self.clock.monotonic()
        if self.store.folder is not None:
            self._saver.put("state", [self._saving])

    def reload(self) -> None:
        """Has the configuration read again soon; may be called from any thread or a signal handler."""
        self._reload_wanted.set()
        self._watcher.wake()

    def _reload(self) -> None:
        self._reload_wanted.clear()
        if self._load is None:
            return
        try:
            config = self._load()
            cloud_candidates(config, self.env)
        except MonitorError as e:
            self._reload_ok = False
            for problem in str(e).splitlines():
                log.error("configuration not loaded, the one before stays in force: %s", problem)
            return
        self.config = config
        self.roster.reconfigure(config, self.paths or (self.cwd,))
        self._reload_ok, self._reloaded_at = True, self.clock.now()
        log.info("configuration loaded")
        self.rescan()

    # -- looking ------------------------------------------------------------------------------------------------------

    def snapshots(self, *, expired: bool = False) -> list[Snapshot]:
        """Every run that is to be shown, in the order of their names; with `expired` also those of long ago."""
        now, after_s = self.clock.now(), self.config.expire_s
        runs = sorted(self.roster.runs.copy().items())
        return [t.snapshot(now) for _, t in runs if t.was_read and (expired or not t.is_expired(now, after_s))]

    def view(self) -> View:
        """What a scrape sees; before the first catch-up is done, nothing but that."""
        if not self.ready:
            return View(ready=False)
        now, after_s = self.clock.now(), self.config.expire_s
        feeds = [f for t in self.roster.runs.copy().values() if not t.is_expired(now, after_s) for f in t.feeds.copy()]
        own = OwnStatus(
            state_saves=self.store.saves,
            state_save_failures=self.store.failures,
            states_unusable=self.store.unusable,
            config_reload_ok=self._reload_ok,
            config_reload_time=self._reloaded_at,
            skipped_files=self.found.skipped if self.found else {},
        )
        thresholds = self.config.default.thresholds.table()
        return View(self.snapshots(), [f.status for f in feeds], True, thresholds, own)


def merged(founds: Sequence[Found]) -> Found:
    """What several searches have found, as if it had been one."""
    skipped: Counter[str] = Counter()
    for found in founds:
        skipped.update(found.skipped)
    return Found(
        tuple({c.path: c for found in founds for c in found.candidates}.values()),
        tuple(note for found in founds for note in found.notes),
        dict(skipped),
        tuple(dict.fromkeys(folder for found in founds for folder in found.folders)),
    )


def raise_open_files() -> int:
    """Lets the process open as many files as it may; gives that number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else max(soft, 1 << 20)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):
        return soft
    return most


def log_event(run: Run, event: Event) -> None:
    """Writes an event to the exporter's own log."""
    level = {1: logging.INFO, 2: logging.WARNING, 3: logging.ERROR}[event.severity]
    fields = {"run": run.name, "kind": event.kind, "severity": event.severity.label, "step": event.step}
    log.log(level, event.message, extra={"fields": fields})
