"""Follows one log file: every byte once, in order, through rotation, truncation and deletion.

A place in the log is known by content (`Place`), never by inode number: the last bytes read must still stand
before the offset, or the file is not the one that was read. What happens then:

- renamed away, a new file in its place (logrotate): the old one is read to its end, then the newer generations, then
  the new file. A copy (copytruncate) is read on where reading stopped. Change "rotated": the same stream goes on.
- truncated (a log never shrinks otherwise), rewritten (even longer than before), deleted and made again, a symbolic
  link that leads elsewhere: the new content is read from its start. Change "replaced".
- the same content in another file (rsync, moved back): goes on, no change.

What is lost, because nobody can know it:
- bytes written between the copy and the truncation of copytruncate, and all bytes that a truncation takes before they
  were read (`lost_bytes` counts those that were seen to be there);
- whole generations that were deleted between two looks, or compressed by something other than gzip;
- what a second writer still puts into the old file after the new one has content;
- content replaced by longer content that is equal up to the offset cannot be told from growth. Nothing of it is lost,
  but what was not read of the older content is.
"""

from __future__ import annotations

import os
import stat
from typing import Any, Literal, TypeAlias

from training_monitor.records import Chunk
from training_monitor.tail import rotation
from training_monitor.tail.part import Part
from training_monitor.tail.place import Place
from training_monitor.tail.problem import NotAFile, explain

_TURNS = 64  # files gone through in one `read` before the caller gets its turn
_LONGEST_LINE = 1 << 16  # bytes: how far back `from_end` looks for the start of a line
_COUNTS = ("rotations", "replacements", "lost_bytes")
_Looks: TypeAlias = tuple[int, int, int, int]  # device, inode, size, time of the last write in ns


class FileTail:
    """The unread bytes of the file at `path`, which need not exist yet.

    `from_end` begins after the last full line of a file that is already there. An idle `read` costs one `stat`.
    The file stays open between reads, so that what is written to it after a rename or deletion is read as well. `close`
    lets go of it at any time; a later `read` opens it again and finds its place by content.
    """

    def __init__(self, path: str | os.PathLike[str], *, from_end: bool = False) -> None:
        self.path = os.fspath(path)
        self.exists = False
        self.problem: str | None = None  # why nothing can be read and what to do, one sentence
        self.size_bytes = 0
        self.rotations = 0
        self.replacements = 0
        self.lost_bytes = 0
        self._from_end = from_end
        self._place = Place()  # in the generation that is being read
        self._part: Part | None = None  # that generation
        self._is_newest = True  # it is the file at `path`
        self._first = b""  # bytes at the place that were read before it was certain that they come next
        self._change: Literal["rotated", "replaced"] | None = None  # told with the next bytes
        self._read_all_of: _Looks | None = None  # nothing new while the file looks like this
        self._searched = False  # no need to look for a rotated file again before the log comes back
        self._no_next_while: tuple[_Looks | None] | None = None  # nor for a newer one while the log looks like this

    @property
    def offset(self) -> int:
        """Bytes read of the generation that is being read."""
        return self._place.offset

    @property
    def mtime(self) -> float:
        """When what is being read was written last, unix seconds."""
        return self._place.mtime

    @property
    def lag_bytes(self) -> int:
        """Bytes known to be written and not read yet, of the generation being read and of the newest."""
        if self._is_newest:
            return max(0, self.size_bytes - self._place.offset)
        return max(0, self._place.size - self._place.offset) + self.size_bytes

    def read(self, limit: int = 1 << 20) -> Chunk | None:
        """The next unread bytes, at most `limit`; None if there is nothing new. Sets `problem` instead of raising."""
        try:
            for _ in range(_TURNS):
                now = self._look()
                if now is not None and _looks(now) == self._read_all_of:
                    return None
                if self._part is None and not self._enter(now):
                    return None
                chunk, goes_on = self._read_part(limit, now)
                if chunk is not None or not goes_on:
                    return chunk
        except FileNotFoundError:  # it went away between look and open
            self.close()
        except rotation.Unsettled as error:
            self.problem = explain(self.path, error)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            self.close()
            self.problem = explain(self.path, error)
        return None

    def close(self) -> None:
        """Lets go of the file. A later `read` goes on where reading stopped."""
        if self._part is not None:
            self._part.close()
        self._part = None
        self._read_all_of = None

    def state(self) -> dict[str, Any]:
        """Where reading stopped, as JSON-able values: no log text, a few hundred bytes."""
        return {**self._place.state(), "change": self._change, **{name: getattr(self, name) for name in _COUNTS}}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where `state` was taken. Raises ValueError, and changes nothing, if it is not such a state."""
        if state.get("change") not in (None, "rotated", "replaced"):
            raise ValueError(f"tail state: change is {state['change']!r}, expected rotated or replaced")
        if not all(isinstance(state.get(name), int) and state[name] >= 0 for name in _COUNTS):
            raise ValueError(f"tail state: {', '.join(_COUNTS)} must be integers of at least 0")
        self._place.restore(state)
        self.close()
        self._change = state["change"]
        self.rotations, self.replacements, self.lost_bytes = (state[name] for name in _COUNTS)
        self._from_end = self._searched = False

    def _look(self) -> os.stat_result | None:
        """What lies at the path; None if it is no file that can be read, with the problem if it is one."""
        self.exists, self.size_bytes, self.problem = False, 0, None
        try:
            now = os.stat(self.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.problem = explain(self.path, error)
            return None
        if not stat.S_ISREG(now.st_mode):
            self.problem = explain(self.path, NotAFile(self.path, now.st_mode))
            return None
        self.exists, self.size_bytes = True, now.st_size
        return now

    def _enter(self, now: os.stat_result | None) -> bool:
        """Opens the generation in which reading stopped, wherever it is now. False: nothing is there to read."""
        if self._place.offset > 0:
            return self._find_place(now)
        if now is None:
            self._from_end = self._from_end and self.problem is not None  # what appears later is read whole
            return False
        part = self._use(Part.open(self.path), b"")
        if self._from_end:
            self._from_end = False
            last = part.read(max(0, part.size - _LONGEST_LINE), min(part.size, _LONGEST_LINE))
            self._place.jump(part, part.size - len(last) + last.rfind(b"\n") + 1)
        return True

    def _find_place(self, now: os.stat_result | None) -> bool:
        """Opens the file that holds what was read last; if there is none, the log from its start."""
        if now is None and self._searched:
            return False
        newest = Part.open(self.path) if now is not None else None
        try:
            if newest is not None and (before := self._place.found_in(newest)) is not None:
                self._use(newest, before)
            elif found := rotation.find(self.path, self._place):
                self._use(found.part, found.before)
                found.close_but(found.part)
            elif newest is not None:
                self.lost_bytes += max(0, self._place.size - self._place.offset)
                self._begin(newest, "replaced")
            else:
                self._searched = True
        finally:
            if newest is not None and newest is not self._part:
                newest.close()
        return not self._searched

    def _read_part(self, limit: int, now: os.stat_result | None) -> tuple[Chunk | None, bool]:
        """Bytes of the open generation; without any, whether there is another place to read from."""
        part, place = self._part, self._place
        assert part is not None
        self._is_newest = now is not None and part.identity == (now.st_dev, now.st_ino)
        if self._first:
            return self._deliver(self._first, limit, now), False
        data = part.read(place.offset, limit)
        has_shrunk = self._is_newest and now is not None and now.st_size < place.size
        if not part.is_packed and (has_shrunk or not place.stands_in(part)):
            self.close()  # truncated or rewritten, perhaps while we read: find out what became of it
            return None, True
        if data[:1] == b"\0" and (begin := part.end_of_hole(place.offset)) != place.offset:
            if begin is not None:
                place.jump(part, begin)
                return None, True
            data = b""
        if not data:
            return None, self._go_to_next(limit, now)
        return self._deliver(data, limit, now), False

    def _deliver(self, data: bytes, limit: int, now: os.stat_result | None) -> Chunk:
        part, place = self._part, self._place
        assert part is not None
        place.advance(data)
        at_end = len(data) < limit
        if self._first or part.is_packed:  # what the file at the path looks like now tells nothing about these bytes
            place.mtime, place.size = part.mtime, place.offset
            at_end = at_end and (bool(self._first) or now is None or now.st_size == 0)
        elif self._is_newest and now is not None:
            place.mtime, place.size = now.st_mtime, now.st_size
            if place.offset >= now.st_size:
                at_end, self._read_all_of = True, _looks(now)
        else:
            part.refresh()
            place.mtime, place.size = part.mtime, part.size
            at_end = at_end and (now is None or now.st_size == 0)
        change, self._change, self._first = self._change, None, b""
        return Chunk(data, place.mtime, change, at_end)

    def _go_to_next(self, limit: int, now: os.stat_result | None) -> bool:
        """At the end of a generation: turns to the one after it. False: there is none yet.

        A log that is missing or empty is none: the writer may still have the old file open.
        """
        looks = None if now is None else _looks(now)
        if self._is_newest:
            self._read_all_of = looks
            return False
        if (looks,) == self._no_next_while:
            return False
        if now is not None and now.st_size > 0:
            has_turned = self._turn_to_log(Part.open(self.path), limit)
        else:
            found = rotation.find(self.path, self._place) if self._place.offset > 0 else None
            has_turned = found is not None and self._turn_to(found, None)
        if not has_turned:
            self._no_next_while = (looks,)
        return has_turned

    def _turn_to_log(self, log: Part, limit: int) -> bool:
        try:
            if self._place.offset == 0:
                self._use(log, b"")
            elif (before := self._place.found_in(log)) is not None:
                self._use(log, before)  # the same content in another file
            elif found := rotation.find(self.path, self._place, lambda: log.read(0, limit)):
                return self._turn_to(found, log if found.first_of_log else None)
            else:
                self._begin(log, "replaced")
            return True
        finally:
            if self._part is not log:
                log.close()

    def _turn_to(self, found: rotation.Found, log: Part | None) -> bool:
        following = found.next or log
        is_other = self._part is None or found.part.identity != self._part.identity
        if is_other:
            self._use(found.part, found.before)  # a copy of what was read, which may hold more
        elif following is not None:
            self.rotations += 1
            self._begin(following, "rotated")
            if following is log and not found.first_of_log.startswith(b"\0"):  # a hole is skipped in `_read_part`
                self._first = found.first_of_log
        found.close_but(self._part)
        return is_other or following is not None

    def _begin(self, part: Part, change: Literal["rotated", "replaced"]) -> None:
        """Reads `part` from its start."""
        if change == "replaced":
            self.replacements += 1
        if self._change != "replaced":
            self._change = change
        self._place.begin()
        self._use(part, b"")

    def _use(self, part: Part, before: bytes) -> Part:
        """Reads on in `part`, in which these bytes lie before the place."""
        if self._part is not None:
            self._part.close()
        self._part, self._place.before = part, before
        self._first, self._read_all_of, self._searched, self._no_next_while = b"", None, False, None
        return part


def _looks(now: os.stat_result) -> _Looks:
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns
