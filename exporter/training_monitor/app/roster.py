"""Which runs there are and which sources tell of each: through restarts, renamings and logs that come and go."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence

from training_monitor.app.feed import Feed
from training_monitor.app.naming import Names, unique
from training_monitor.app.offline import goals_of, reference, settings_of
from training_monitor.app.polled import open_feed
from training_monitor.app.store import UNUSABLE, Saved, Store
from training_monitor.app.tracked import Tracked
from training_monitor.clock import Clock
from training_monitor.config import Config
from training_monitor.errors import InputError
from training_monitor.estimate.baseline import Reference
from training_monitor.expose.render import page_of
from training_monitor.run import Run, restore
from training_monitor.tail.discovery import Candidate

log = logging.getLogger(__name__)


class Roster:
    """Runs by name and sources by path. One thread changes them; any thread may look at a copy."""

    def __init__(
        self, config: Config, store: Store, watched: Sequence[str], clock: Clock, env: Mapping[str, str]
    ) -> None:
        self.config, self.store = config, store
        self._clock, self._env = clock, env
        self.runs: dict[str, Tracked] = {}
        self.feeds: dict[str, Feed] = {}
        self._names = Names(watched, config.names)
        self._kin: dict[tuple[str, str], str] = {}  # folder and name of a source → key of the run it tells of
        self._saved: dict[str, Saved] = {}  # by key: states whose sources have not been found yet
        self._taken: set[str] = set()  # keys in use, by a run or a saved state
        self._keys: dict[str, str] = {}  # path of a source → key of the saved state that knows it

    def recall(self) -> None:
        """Takes note of what was saved. A state is used when a source of it is found."""
        found = list(self.store.index())
        self._taken = {saved.key for saved in found}
        for saved in found:
            key = self._renamed(saved)
            self._saved[key] = saved
            self._taken.add(key)
            for path in saved.paths:
                self._keys[path] = key
                self._kin.setdefault(self._kinship(path), key)

    def add(self, candidate: Candidate) -> Feed:
        """Begins to follow a source, where its saved state stopped or from its start."""
        path = candidate.path
        tracked = self._tracked(path)
        feed = open_feed(candidate, tracked.run, self.config, self._clock, self._env)
        with tracked.lock:
            tracked.feeds.append(feed)
            saved = tracked.absent.pop(path, None)
        if saved is not None:
            try:
                feed.restore(saved)
            except UNUSABLE as e:
                self.begin_anew(tracked, e)
        self.feeds[path] = feed
        return feed

    def twins(self) -> list[tuple[Tracked, Tracked]]:
        """Runs that are one: a log names the W&B run that it is, and that run is followed by itself."""
        named = {t.run.facts.run_id: t for t in self.runs.values() if t.run.facts.run_id and not t.is_wandb}
        others = [t for t in self.runs.values() if t.is_wandb] if named else []
        return [(named[t.run.facts.run_id], t) for t in others if t.run.facts.run_id in named]

    def unite(self, into: Tracked, twin: Tracked) -> list[Candidate]:
        """Forgets `twin`; its sources, read again from their start, tell of `into` from now on."""
        candidates = [Candidate(feed.path, feed.kind) for feed in twin.feeds]
        for feed in list(twin.feeds):
            self.remove(feed)
        for candidate in candidates:
            self._keys[candidate.path] = self._kin[self._kinship(candidate.path)] = into.name
        return candidates

    def of(self, feed: Feed) -> Tracked:
        return self.runs[feed.run.name]

    def remove(self, feed: Feed) -> None:
        """Follows a source no more; a run without sources is forgotten, its saved state as well."""
        del self.feeds[feed.path]
        tracked = self.of(feed)
        with tracked.lock:
            tracked.feeds.remove(feed)
            feed.reset()
            feed.close()
        if not tracked.feeds:
            del self.runs[tracked.name]
            self._taken.discard(tracked.name)
            self._kin = {kinship: key for kinship, key in self._kin.items() if key != tracked.name}
            self.store.forget(tracked.name)

    def begin_anew(self, tracked: Tracked, error: Exception) -> bool:
        """After an error in a run that goes on from a saved state, which may be why: it is read from the start."""
        if not tracked.was_restored:
            return False
        self._discard(tracked.name, error)
        tracked.reset(self._new_run(tracked.name, tracked.run.source))
        return True

    def _renamed(self, saved: Saved) -> str:
        """The key of a saved run from now on: another than before if a rule of the configuration says so by now."""
        names = {name for path in saved.paths if (name := self._names.by_rule(path)) is not None}
        name = names.pop() if len(names) == 1 else saved.key
        is_told_apart = saved.key.endswith(f"/{name}")
        return saved.key if is_told_apart or name in self._taken else name

    def forget_saved(self, before: float) -> None:
        """Removes states saved before this time (unix seconds) whose sources are nowhere to be found."""
        for key in [key for key, saved in self._saved.items() if saved.at < before]:
            saved = self._saved.pop(key)
            for path in saved.paths:
                self._keys.pop(path, None)
            self._taken.discard(key)
            self._kin = {kinship: other for kinship, other in self._kin.items() if other != key}
            self.store.forget(saved.key)

    def reconfigure(self, config: Config, watched: Sequence[str]) -> None:
        """Gives every run its thresholds, prices and goals anew; format, names and paths hold for new sources."""
        self.config, self._names = config, Names(watched, config.names)
        for tracked in self.runs.values():
            name, source = tracked.name, tracked.run.source
            tracked.renew(lambda name=name, source=source: self._new_run(name, source))  # type: ignore[misc]

    def _tracked(self, path: str) -> Tracked:
        """The run that a source tells of: its saved one, that of its kin (a SLURM job's .out and .err), or a new."""
        kinship = self._kinship(path)
        key = self._keys.get(path) or self._kin.get(kinship)
        if key is None:
            key = unique(kinship[1], path, self._taken)
        self._taken.add(key)
        self._kin.setdefault(kinship, key)
        if key in self._saved:
            self.runs[key] = self._restored(key, self._saved.pop(key), path)
        elif key not in self.runs:
            self.runs[key] = Tracked(self._new_run(key, path))
        return self.runs[key]

    def _kinship(self, path: str) -> tuple[str, str]:
        return os.path.dirname(path), self._names.of(path)

    def _restored(self, key: str, saved: Saved, path: str) -> Tracked:
        tracked = Tracked(self._new_run(key, saved.paths[0] if saved.paths else path))
        try:
            state = self.store.load(saved.key)
            restore(tracked.run, state["run"])
            tracked.absent = {feed["path"]: feed for feed in state["feeds"]}
            if set(tracked.absent) != set(saved.paths):
                raise ValueError(f"it stands in {sorted(tracked.absent)}, expected {sorted(saved.paths)}")
            tracked.was_restored = True
            page_of(tracked.snapshot(self._clock.now()))  # what cannot be shown would make every scrape fail
            if key != saved.key and self.store.save(key, json.dumps(state), paths=saved.paths, at=saved.at):
                self.store.forget(saved.key)
        except (OSError, *UNUSABLE) as e:
            self._discard(saved.key, e)
            tracked = Tracked(self._new_run(key, path))
        return tracked

    def _discard(self, key: str, error: Exception) -> None:
        why = f"{type(error).__name__}: {error}"
        log.error("%s: its saved state cannot be used (%s); read from the start", ascii(key), why)
        self.store.discard(key)

    def _new_run(self, name: str, path: str) -> Run:
        settings = self.config.of(name)
        return Run(
            name,
            path,
            thresholds=settings.thresholds,
            settings=settings_of(settings),
            goals=goals_of(settings, self._reference(settings.baseline)),
        )

    def _reference(self, path: str | None) -> Reference | None:
        """The baseline; without it, rather than not at all, is a run compared with nothing."""
        try:
            return reference(path, self.config)
        except InputError as e:
            log.error("no baseline to compare with: %s", e)
            return None
