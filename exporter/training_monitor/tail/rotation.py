"""Decides which rotated file, if any, is the one that was read: by content, not by name or inode number.

pygtail alone would splice a stale `train.log.1` of an older run in, lose what was compressed, and look one generation
back only. Here its proposal, like every other, is believed only if it still holds the bytes that were read last.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass

from training_monitor.tail.part import Part
from training_monitor.tail.place import Place

_TRIES = 10
_CLOCK_SLACK_S = 2.0  # coarsest file time in use (FAT); compressors may drop fractions of a second


@dataclass(frozen=True, slots=True)
class Found:
    """The generation in which reading stopped, open, and the one after it."""

    part: Part
    before: bytes  # the last bytes before the place, at most WINDOW
    next: Part | None  # open; the oldest newer one with content; None: the log itself is next
    first_of_log: bytes  # what the log began with while the rotated files were as described here

    def close_but(self, kept: Part | None) -> None:
        for part in (self.part, self.next):
            if part is not None and part is not kept:
                part.close()


class Unsettled(OSError):
    """Files were renamed or written whenever we looked: a list made meanwhile may lack some."""


def find(path: str, place: Place, first_of_log: Callable[[], bytes] = bytes) -> Found | None:
    """The rotated file of `path` that holds the stream of `place`. `place.offset` must be above 0: nothing fits all.

    The answer holds for one moment, at which `first_of_log` was called too. Raises Unsettled, OSError.
    """
    from training_monitor.tail.generations import generations  # pygtail: 16 ms, and most logs never rotate

    for _ in range(_TRIES):
        schemes = generations(path)
        places = (_find_in([file.path for file in scheme], place) for scheme in schemes)
        part, before, newer = next(filter(None, places), (None, b"", None))
        found = Found(part, before, newer, first_of_log()) if part is not None else None
        if generations(path) == schemes:
            return found
        if found is not None:
            found.close_but(None)
    raise Unsettled(errno.EAGAIN, "its rotated files change all the time; it is looked at again", path)


def _find_in(scheme: list[str], place: Place) -> tuple[Part, bytes, Part | None] | None:
    newer: list[str] = []
    for name in scheme:
        part = _open(name, place.mtime)
        if part is not None:
            before = place.found_in(part)
            if before is not None:
                return part, before, _first_with_content(newer[::-1], place.mtime)
            part.close()
        newer.append(name)
    return None


def _first_with_content(names: list[str], not_before: float) -> Part | None:
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
