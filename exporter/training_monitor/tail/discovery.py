"""From what the user named, or from nothing, to the logs that are there, with a sentence on what was found where.

A path is a file (which may not exist yet), a folder, a glob, a W&B folder or a `.wandb` file. In folders only names
that look like logs count (`names.LOG_NAMES`); a file named by itself, or by a glob that says more than `*`, is always
a log.
Named pipes, sockets and devices are never opened. Without a path the usual places are searched.
"""

from __future__ import annotations

import glob
import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from training_monitor.tail import wandb_runs
from training_monitor.tail.names import NAMES_IN_WORDS, is_specific, kind_by_name, kind_of_named, matches, rotated_from
from training_monitor.tail.problem import NotAFile, explain, kind_of, shown
from training_monitor.tail.walk import MAX_ENTRIES, REASONS, Walk, walk

MAX_LOGS = 5_000  # taken from one folder or glob: the newest
MAX_FOLDERS = 1_000  # to be watched; new logs in others are found by the next search

#: Searched in the working folder when no path is given, beside the names in it and the places of W&B.
USUAL_FOLDERS = ("log", "logs", "runs", "output", "outputs", "lightning_logs")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One log. `path` is absolute; `kind` is file, wandb, tfevents or sqlite."""

    path: str
    kind: str


@dataclass(frozen=True, slots=True)
class Found:
    """The logs, and what to tell the user about the search."""

    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]  # a sentence for each path; for all the usual places, one
    skipped: Mapping[str, int]  # fifo, socket, device, loop, too_deep, too_many, unreadable, rotated, not_a_log
    folders: tuple[str, ...] = ()  # where new logs may appear


def discover(paths: Sequence[str], *, env: Mapping[str, str], cwd: str) -> Found:
    """The logs that `paths` stand for, or those in the usual places if there are none. Opens no log, raises nothing."""
    search = _Search(env, cwd)
    for path in paths:
        search.path(path)
    if not paths:
        search.usual_places()
    candidates = tuple(Candidate(path, kind) for path, kind in search.files.items())
    return Found(candidates, tuple(search.notes), dict(+search.skipped), tuple(islice(search.folders, MAX_FOLDERS)))


class _Search:
    def __init__(self, env: Mapping[str, str], cwd: str) -> None:
        self._env, self._cwd = env, cwd
        self.files: dict[str, str] = {}  # path → kind
        self.notes: list[str] = []
        self.skipped: Counter[str] = Counter()
        self.folders: dict[str, None] = {}

    def path(self, path: str) -> None:
        """Adds what one path of the user stands for."""
        place = os.path.normpath(os.path.join(self._cwd, _from_home(path, self._env)))
        try:
            mode = os.stat(place).st_mode
        except (FileNotFoundError, NotADirectoryError):
            self._not_there(path, place)
        except (OSError, ValueError) as error:
            self._leave(path, error, "unreadable")
        else:
            if stat.S_ISREG(mode):
                self.files[place] = kind_of_named(place)
            elif stat.S_ISDIR(mode):
                self._folder(path, place)
            else:
                self._leave(path, NotAFile(path, mode), REASONS[kind_of(mode)])

    def usual_places(self) -> None:
        """Adds the logs that lie where logs usually lie, and says in one line what was found where."""
        here = walk(self._cwd, max_depth=0)
        del here.skipped["too_deep"]
        counts = {"this folder": self._take(here)}
        for name in USUAL_FOLDERS:
            if os.path.isdir(folder := os.path.join(self._cwd, name)):
                counts[f"{name}/"] = self._take(walk(folder))
        counts |= self._wandb()
        searched = _listed([f"{name}/" for name in USUAL_FOLDERS] + [said for _, said in self._wandb_places()])
        nothing = f"no log found in {shown(self._cwd)} ({NAMES_IN_WORDS}), nor in {searched}"
        self.notes.append(_counted(counts) or f"{nothing}; name a log, a folder or a glob")

    def _not_there(self, path: str, place: str) -> None:
        if glob.has_magic(os.path.normpath(path)) and not os.path.islink(place):
            self._glob(path)
        elif wandb_runs.is_cache(place, self._env):
            self._wandb_instead(path)
        else:
            if not path.endswith("/"):
                self.files[place] = kind_of_named(place)
            self.notes.append(f"{shown(path)} does not exist yet; waiting for it")

    def _folder(self, path: str, place: str) -> None:
        found = walk(place)
        if wandb_runs.is_cache(place, self._env) and "wandb" not in found.files.values():
            self._wandb_instead(path)
            return
        nothing = f"no log among {found.skipped['not_a_log']} files; looked for {NAMES_IN_WORDS}"
        words = _count(self._take(found)) or nothing
        self.notes.append(f"{shown(path)}: {words}{_left_alone(found)}")

    def _glob(self, path: str) -> None:
        parts = os.path.normpath(_from_home(path, self._env)).split("/")
        fixed = next(n for n, part in enumerate(parts) if glob.has_magic(part))
        top = os.path.normpath(os.path.join(self._cwd, "/".join(parts[:fixed]) + "/" * (fixed > 0)))
        wanted, by_name = parts[fixed:], not is_specific(parts[-1])
        if "**" in wanted:  # walked by us: the library's own walk goes round in circles of links
            found = walk(
                top, lambda p: _kind(p, by_name) if matches(os.path.relpath(p, top).split("/"), wanted) else None
            )
            found.skipped.pop("not_a_log", None)
        else:
            found = Walk(folders=[top])
            for match in islice(glob.iglob("/".join(wanted), root_dir=top), MAX_ENTRIES):
                self._add_match(os.path.join(top, match), by_name, found)
        for generation in [p for p in found.files if rotated_from(p) in found.files]:
            del found.files[generation]  # read as a part of its log
            found.skipped["rotated"] += 1
        words = _count(self._take(found)) or "matches no log yet; waiting for one"
        self.notes.append(f"{shown(path)}: {words}{_left_alone(found)}")

    def _add_match(self, match: str, by_name: bool, found: Walk) -> None:
        try:
            mode = os.stat(match).st_mode
        except OSError:
            found.skipped["unreadable"] += 1
            return
        if stat.S_ISDIR(mode):
            found.add(walk(match))
        elif not stat.S_ISREG(mode):
            found.skipped[REASONS[kind_of(mode)]] += 1
        elif (kind := _kind(match, by_name)) is not None:
            found.files[match] = kind
        else:
            found.skipped["not_a_log"] += 1

    def _wandb(self) -> dict[str, Counter[str]]:
        """Adds the W&B runs of this machine; gives place → what was found there."""
        counts = {said: self._take(walk(folder)) for folder, said in self._wandb_places() if os.path.isdir(folder)}
        known = {os.path.realpath(path) for path, kind in self.files.items() if kind == "wandb"}
        written = Walk(files={p: "wandb" for p in wandb_runs.being_written() if os.path.realpath(p) not in known})
        return {**counts, "other folders, being written": self._take(written)}

    def _wandb_places(self) -> list[tuple[str, str]]:
        return list(wandb_runs.places(self._env, self._cwd).items())

    def _wandb_instead(self, path: str) -> None:
        places = _listed([said for _, said in self._wandb_places()])
        words = _counted(self._wandb()) or f"none found in {places} either; name the run's folder"
        self.notes.append(f"{shown(path)} holds caches of W&B, never runs; {words}")

    def _take(self, found: Walk) -> Counter[str]:
        """Adds what a walk found; gives the number of logs by kind."""
        new = [path for path in found.files if path not in self.files]
        if len(new) > MAX_LOGS:
            new.sort(key=_mtime, reverse=True)
            found.skipped["too_many"] += len(new) - MAX_LOGS
            del new[MAX_LOGS:]
        new.sort()
        runs = sorted(filter(wandb_runs.started, new), key=wandb_runs.started, reverse=True)
        for path in [path for path in new if not wandb_runs.started(path)] + runs:
            self.files[path] = found.files[path]
        self.skipped.update(found.skipped)
        self.folders.update(dict.fromkeys(found.folders))
        return Counter(kind for path, kind in found.files.items() if path in self.files)

    def _leave(self, path: str, error: OSError | ValueError, reason: str) -> None:
        self.skipped[reason] += 1
        self.notes.append(explain(path, error))


def _kind(path: str, by_name: bool) -> str | None:
    return kind_by_name(os.path.basename(path)) if by_name else kind_of_named(path)


def _from_home(path: str, env: Mapping[str, str]) -> str:
    home = env.get("HOME")
    return home + path[1:] if home and (path == "~" or path.startswith("~/")) else path


def _mtime(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


_WORDS = {"file": "log", "wandb": "W&B run", "tfevents": "TensorBoard file", "sqlite": "database"}
_LEFT = {
    "fifo": "named pipe",
    "socket": "socket",
    "device": "device",
    "unreadable": "unreadable file or folder",
    "too_deep": "folder too deep down",
    "too_many": "older log",
    "rotated": "rotated part of a log",
}


def _count(counts: Mapping[str, int]) -> str:
    return _listed([_plural(counts[kind], word) for kind, word in _WORDS.items() if counts[kind]])


def _counted(places: Mapping[str, Counter[str]]) -> str:
    found = _listed([f"{_count(counts)} in {place}" for place, counts in places.items() if counts])
    return found and f"found {found}"


def _left_alone(found: Walk) -> str:
    left = _listed([_plural(found.skipped[reason], word) for reason, word in _LEFT.items() if found.skipped[reason]])
    stopped = "" if found.is_complete else f"; stopped after {MAX_ENTRIES} names: name a folder further down"
    return (left and f"; left alone: {left}") + stopped


def _plural(n: int, word: str) -> str:
    return f"{n} {word.replace('file or', 'files or') if n > 1 else word}{'s' if n > 1 else ''}"


def _listed(items: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))
