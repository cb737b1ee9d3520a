"""Finds what a log was rotated to. pygtail knows the names; a fingerprint decides whether to believe them.

pygtail proposes the newest rotated file by name (savelog, logrotate with and without compression and dates,
TimedRotatingFileHandler). By itself it would also splice in a stale `train.log.1` of an older run, and it looks one
generation back only. So its proposal, and every older generation of the same naming scheme, is opened only if it still
holds the bytes that were read last.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

from pygtail import Pygtail

from training_monitor.tail.part import WINDOW, Part

_NUMBERED = re.compile(r"\.(\d{1,4})(\.gz)?")
_DATED = re.compile(r"[-._](\d{4}-?\d{2}-?\d{2}[-_.T:\d]*?)(\.gz)?")
_CLOCK_SLACK_S = 2.0  # coarsest file time in use (FAT); compressors may drop fractions of a second


def digest(data: bytes) -> str:
    """A short name for these bytes."""
    return blake2b(data, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a stream of bytes, recognisable by content: inode numbers are used again, names move on."""

    offset: int
    head: str  # digest of the first bytes, at most WINDOW of the `offset` ones
    tail: str  # digest of the last bytes before `offset`, at most WINDOW
    size: int  # bytes that the stream is known to have: a log only grows
    mtime: float = 0.0  # unix seconds: the file that holds them was last written then, or later

    def bytes_before(self, part: Part) -> bytes | None:
        """The last bytes before the place if `part` holds this very stream up to there, otherwise None."""
        if not part.may_hold(self.offset, self.size):
            return None
        n = min(self.offset, WINDOW)
        if digest(part.read(0, n)) != self.head:
            return None
        before = part.read(self.offset - n, n)
        return before if len(before) == n and digest(before) == self.tail else None


class _Names(Pygtail):  # type: ignore[misc]
    """pygtail's search for rotated names and nothing else of it: it opens, writes and prints nothing."""

    def __init__(self, path: str) -> None:
        super().__init__(path, offset_file=os.devnull)  # exists and is empty: "no offset yet"

    def __del__(self) -> None:  # the base class would open the log to close it
        pass

    def newest(self) -> str | None:
        name: str | None = self._check_rotated_filename_candidates()
        return name


def generations(path: str) -> Iterator[list[str]]:
    """Existing rotated files of `path`: for each naming scheme, newest first."""
    real = os.path.realpath(path)
    for name in dict.fromkeys((path, real)):  # a symbolic link, and where it leads
        newest = _Names(name).newest()
        schemes = list(_schemes(name))
        if newest is not None and not any(newest in scheme for scheme in schemes):
            yield [newest]
        yield from schemes


def _schemes(path: str) -> Iterator[list[str]]:
    folder, base = os.path.split(path)
    numbered: dict[int, str] = {}
    dated: dict[str, str] = {}
    with os.scandir(folder or ".") as entries:
        names = [entry.name for entry in entries if entry.name.startswith(base) and entry.name != base]
    for name in sorted(names):  # "x.1" comes before "x.1.gz", which may still be in the making
        if match := _NUMBERED.fullmatch(name, len(base)):
            numbered.setdefault(int(match[1]), name)
        elif match := _DATED.fullmatch(name, len(base)):
            dated.setdefault(match[1], name)
    for scheme in ([numbered[n] for n in sorted(numbered)], [dated[d] for d in sorted(dated, reverse=True)]):
        if scheme:
            yield [os.path.join(folder, name) for name in scheme]


@dataclass(frozen=True, slots=True)
class Found:
    """The generation in which reading stopped."""

    part: Part  # open
    before: bytes  # the last bytes before the place, at most WINDOW
    newer: list[str]  # generations after it, oldest first; the log itself is not among them


def find(path: str, mark: Mark) -> Found | None:
    """The rotated file of `path` that holds the stream of `mark`. `mark.offset` must be above 0: nothing fits all."""
    for scheme in generations(path):
        for i, name in enumerate(scheme):
            part = _open(name, mark.mtime)
            if part is None:
                continue
            before = mark.bytes_before(part)
            if before is not None:
                return Found(part, before, scheme[:i][::-1])
            part.close()
    return None


def first_with_content(names: list[str], not_before: float) -> Part | None:
    """The first of these files that can be opened, is not empty and was written to after `not_before`, open."""
    for name in names:
        part = _open(name, not_before)
        if part is not None:
            if part.read(0, 1):
                return part
            part.close()
    return None


def _open(name: str, not_before: float) -> Part | None:
    """A file that was not written to since `not_before` belongs to something older than what was read."""
    try:
        part = Part.open(name)
    except OSError:
        return None
    if part.mtime >= not_before - _CLOCK_SLACK_S:
        return part
    part.close()
    return None
