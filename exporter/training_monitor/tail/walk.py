"""Looks through a folder for logs: bounded, safe against links that lead in circles, and opening nothing."""

from __future__ import annotations

import os
import stat
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from training_monitor.tail.names import is_dull, is_wandb, is_wandb_run, kind_by_name
from training_monitor.tail.problem import kind_of

MAX_DEPTH = 8  # folders below the one given
MAX_ENTRIES = 500_000  # names looked at in one walk: about half a second
#: What `problem.kind_of` says → reason in the counts.
REASONS = {"named pipe": "fifo", "socket": "socket", "device": "device"}


@dataclass(slots=True)
class Walk:
    """What was found at and below one folder."""

    files: dict[str, str] = field(default_factory=dict)  # path → kind of source
    folders: list[str] = field(default_factory=list)  # looked through
    skipped: Counter[str] = field(default_factory=Counter)  # by reason
    entries: int = 0

    @property
    def is_complete(self) -> bool:
        return self.entries < MAX_ENTRIES

    def add(self, other: Walk) -> None:
        self.files.update(other.files)
        self.folders += other.folders
        self.skipped += other.skipped
        self.entries += other.entries


def walk(top: str, kind: Callable[[str], str | None] | None = None, max_depth: int = MAX_DEPTH) -> Walk:
    """The logs at and below `top`. `kind` tells from a path what a file is; by default its name does.

    The tree itself comes first, symbolic links out of it last, so that a file that can be reached in several ways is
    found once, under its real name.
    """
    return _Walker(kind, max_depth).run(top)


class _Walker:
    def __init__(self, kind: Callable[[str], str | None] | None, max_depth: int) -> None:
        self._given_kind, self._max_depth = kind, max_depth
        self._found = Walk()
        self._todo: deque[tuple[str, int]] = deque()  # folder, depth
        self._links: deque[tuple[str, int]] = deque()
        self._file_links: list[str] = []
        self._seen: set[tuple[int, int]] = set()  # folders entered

    def run(self, top: str) -> Walk:
        self._todo.append((top, 0))
        while (self._todo or self._links) and self._found.is_complete:
            try:
                if self._todo:
                    self._enter(*self._todo.popleft())
                else:
                    self._follow(*self._links.popleft())
            except OSError:
                self._found.skipped["unreadable"] += 1
        self._add_file_links()
        return self._found

    def _enter(self, folder: str, depth: int) -> None:
        identity = _identity(os.stat(folder))
        if identity in self._seen:
            self._found.skipped["loop"] += 1
            return
        self._seen.add(identity)
        with os.scandir(folder) as entries:
            self._found.folders.append(folder)
            self._scan(entries, folder, depth)

    def _scan(self, entries: Iterable[os.DirEntry[str]], folder: str, depth: int) -> None:
        found, place = self._found, os.path.basename(folder)
        for entry in entries:
            found.entries += 1
            if not found.is_complete:
                return
            if entry.is_symlink():
                self._links.append((entry.path, depth))
            elif entry.is_file():
                if (kind := self._kind(entry.path, entry.name, place)) is not None:
                    found.files[entry.path] = kind
            elif entry.is_dir():
                self._note_folder(entry.path, entry.name, place, depth)
            else:
                self._skip_special(entry.stat())

    def _kind(self, path: str, name: str, place: str) -> str | None:
        kind = kind_by_name(name) if self._given_kind is None else self._given_kind(path)
        if kind not in (None, "wandb") and self._given_kind is None and is_wandb(place):
            kind = None
        if kind is None:
            self._found.skipped["not_a_log"] += 1
        return kind

    def _note_folder(self, path: str, name: str, place: str, depth: int) -> None:
        if is_dull(name) or is_wandb_run(place):
            return
        if depth < self._max_depth:
            self._todo.append((path, depth + 1))
        else:
            self._found.skipped["too_deep"] += 1

    def _skip_special(self, status: os.stat_result) -> None:
        self._found.skipped[REASONS[kind_of(status.st_mode)]] += 1

    def _follow(self, link: str, depth: int) -> None:
        target = os.stat(link)
        place, name = os.path.split(link)
        if stat.S_ISDIR(target.st_mode):
            self._note_folder(link, name, os.path.basename(place), depth)
        elif not stat.S_ISREG(target.st_mode):
            self._skip_special(target)
        elif self._kind(link, name, os.path.basename(place)) is not None:
            self._file_links.append(link)

    def _add_file_links(self) -> None:
        """Links to files that were not found under their own name."""
        if not self._file_links:
            return
        known = {_identity_of(path) for path in self._found.files}
        for link in sorted(self._file_links):
            identity = _identity_of(link)
            if identity is not None and identity not in known:
                known.add(identity)
                self._found.files[link] = self._kind(link, os.path.basename(link), "") or "file"


def _identity_of(path: str) -> tuple[int, int] | None:
    try:
        return _identity(os.stat(path))
    except OSError:
        return None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
