"""Follows one log file: every byte once, in order, through rotation, truncation and deletion.

A place in the log is known by content (`rotation.Mark`), never by inode number: the last bytes read must still stand
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
from typing import Any, Literal

from training_monitor.records import Chunk
from training_monitor.tail import rotation
from training_monitor.tail.part import WINDOW, Part
from training_monitor.tail.problem import NotAFile, explain
from training_monitor.tail.rotation import Mark, digest

_TURNS = 64  # files gone through in one `read` before the caller gets its turn
_LONGEST_LINE = 1 << 16  # bytes: how far back `from_end` looks for the start of a line
_VERSION = 1


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
        self.mtime = 0.0  # unix seconds: last write to what is being read
        self.offset = 0  # in the generation that is being read
        self.rotations = 0
        self.replacements = 0
        self.lost_bytes = 0
        self._from_end = from_end
        self._part: Part | None = None  # the generation that is being read
        self._is_newest = True  # that generation is the file at `path`
        self._part_size = 0  # of that generation, when last seen
        self._head = digest(b"")  # of the first bytes of the generation, at most WINDOW
        self._tail = digest(b"")  # of the last bytes before `offset`, while `_before` is None
        self._before: bytes | None = b""  # the last bytes before `offset`, at most WINDOW; None: not looked up yet
        self._change: Literal["rotated", "replaced"] | None = None  # told with the next bytes
        self._read_all_of: tuple[int, int, int, int] | None = None  # nothing new while the file looks like this
        self._searched = False  # no need to look for a rotated file again before the log comes back

    @property
    def lag_bytes(self) -> int:
        """Bytes known to be written and not read yet, of the generation being read and of the newest."""
        if self._is_newest:
            return max(0, self.size_bytes - self.offset)
        return max(0, self._part_size - self.offset) + self.size_bytes

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
        mark = self._mark()
        return {
            "version": _VERSION,
            "offset": mark.offset,
            "head": mark.head,
            "tail": mark.tail,
            "mtime": mark.mtime,
            "size": self._part_size,
            "change": self._change,
            "rotations": self.rotations,
            "replacements": self.replacements,
            "lost_bytes": self.lost_bytes,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where `state` was taken. Raises ValueError, and changes nothing, if it is not such a state."""
        _check(state)
        self.close()
        self.offset, self.mtime, self._part_size = state["offset"], state["mtime"], state["size"]
        self._head, self._tail, self._change = state["head"], state["tail"], state["change"]
        self.rotations, self.replacements = state["rotations"], state["replacements"]
        self.lost_bytes = state["lost_bytes"]
        self._before = None if self.offset else b""
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
        if self.offset == 0:
            if now is None:
                self._from_end = self._from_end and self.problem is not None  # what appears later is read whole
                return False
            self._use(Part.open(self.path), b"")
            if self._from_end:
                self._go_to_last_line()
            return True
        return self._find_place(now)

    def _find_place(self, now: os.stat_result | None) -> bool:
        """Opens the file that holds what was read last; if there is none, the log from its start."""
        if now is None and self._searched:
            return False
        mark = self._mark()
        newest = Part.open(self.path) if now is not None else None
        if newest is not None and (before := mark.bytes_before(newest)) is not None:
            self._use(newest, before)
            return True
        if found := rotation.find(self.path, mark):
            self._use(found.part, found.before)
            if newest is not None:
                newest.close()
            return True
        if newest is None:
            self._searched = True
            return False
        self.lost_bytes += max(0, self._part_size - self.offset)
        self._begin(newest, "replaced")
        return True

    def _read_part(self, limit: int, now: os.stat_result | None) -> tuple[Chunk | None, bool]:
        """Bytes of the open generation; without any, whether there is another place to read from."""
        part, before = self._part, self._before
        assert part is not None
        assert before is not None
        self._is_newest = now is not None and part.identity == (now.st_dev, now.st_ino)
        data = part.read(self.offset, limit)
        has_shrunk = self._is_newest and now is not None and now.st_size < self._part_size
        if not part.is_packed and (has_shrunk or part.read(self.offset - len(before), len(before)) != before):
            self.close()  # truncated or rewritten, perhaps while we read: find out what became of it
            return None, True
        if data[:1] == b"\0" and (begin := part.end_of_hole(self.offset)) != self.offset:
            if begin is not None:
                self._place(begin)
                return None, True
            data = b""
        if not data:
            return None, self._go_to_next(now)
        return self._deliver(data, limit, now), False

    def _deliver(self, data: bytes, limit: int, now: os.stat_result | None) -> Chunk:
        part, before = self._part, self._before
        assert part is not None
        assert before is not None
        if self.offset < WINDOW:
            self._head = digest((before + data[:WINDOW])[:WINDOW])
        self._before = data[-WINDOW:] if len(data) >= WINDOW else (before + data)[-WINDOW:]
        self.offset += len(data)
        at_end = len(data) < limit
        if self._is_newest and now is not None:
            self.mtime, size = now.st_mtime, now.st_size
            if self.offset >= size:
                at_end, self._read_all_of = True, _looks(now)
        else:
            part.refresh()
            self.mtime, size = part.mtime, part.size
            at_end = at_end and (now is None or now.st_size == 0)
        self._part_size = self.offset if part.is_packed else size
        change, self._change = self._change, None
        return Chunk(data, self.mtime, change, at_end)

    def _go_to_next(self, now: os.stat_result | None) -> bool:
        """At the end of a generation: turns to the one after it. False: there is none yet.

        An empty new file is none: its writer may still have the old one open.
        """
        if now is None:
            return False
        if self._is_newest:
            self._read_all_of = _looks(now)
            return False
        if now.st_size == 0:
            return False
        newest = Part.open(self.path)
        mark = self._mark()
        if self.offset == 0:
            self._use(newest, b"")
        elif (before := mark.bytes_before(newest)) is not None:
            self._use(newest, before)  # the same content in another file
        elif (found := rotation.find(self.path, mark)) is None:
            self._begin(newest, "replaced")
        elif self._part is None or found.part.identity != self._part.identity:
            self._use(found.part, found.before)  # a copy, which may hold more
        else:
            found.part.close()
            self.rotations += 1
            self._begin(rotation.first_with_content(found.newer, mark.mtime) or newest, "rotated")
        if self._part is not newest:
            newest.close()
        return True

    def _begin(self, part: Part, change: Literal["rotated", "replaced"]) -> None:
        """Reads `part` from its start."""
        if change == "replaced":
            self.replacements += 1
        if self._change != "replaced":
            self._change = change
        self.offset = self._part_size = 0
        self._head = digest(b"")
        self._use(part, b"")

    def _use(self, part: Part, before: bytes) -> None:
        if self._part is not None:
            self._part.close()
        self._part, self._before = part, before
        self._read_all_of, self._searched = None, False

    def _place(self, offset: int) -> None:
        """Goes on at `offset` of the open generation without delivering what lies before."""
        part = self._part
        assert part is not None
        n = min(offset, WINDOW)
        self.offset = offset
        self._before = part.read(offset - n, n)
        self._head = digest(part.read(0, n))

    def _go_to_last_line(self) -> None:
        part = self._part
        assert part is not None
        self._from_end = False
        last = part.read(max(0, part.size - _LONGEST_LINE), min(part.size, _LONGEST_LINE))
        self._place(part.size - len(last) + last.rfind(b"\n") + 1)

    def _mark(self) -> Mark:
        tail = self._tail if self._before is None else digest(self._before)
        return Mark(self.offset, self._head, tail, self._part_size, self.mtime)


def _looks(now: os.stat_result) -> tuple[int, int, int, int]:
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns


def _check(state: dict[str, Any]) -> None:
    if state.get("version") != _VERSION:
        raise ValueError(f"tail state of version {state.get('version')!r}, expected {_VERSION}")
    for name in ("offset", "size", "rotations", "replacements", "lost_bytes"):
        if not isinstance(state.get(name), int) or state[name] < 0:
            raise ValueError(f"tail state: {name} is {state.get(name)!r}, expected an integer of at least 0")
    if not isinstance(state.get("mtime"), int | float) or not state["mtime"] >= 0:
        raise ValueError(f"tail state: mtime is {state.get('mtime')!r}, expected unix seconds")
    if not isinstance(state.get("head"), str) or not isinstance(state.get("tail"), str):
        raise ValueError("tail state: head and tail must be digests")
    if state.get("change") not in (None, "rotated", "replaced"):
        raise ValueError(f"tail state: change is {state['change']!r}, expected rotated or replaced")
