"""A place in a stream of bytes, known by the bytes before it: inode numbers are used again, and names move on."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from training_monitor.tail.part import WINDOW, Part

_VERSION = 1


class Place:
    """Where reading stopped in one generation of a log.

    offset: bytes read of it. size: bytes that it is known to have; a log only grows. mtime: when it was written last,
    as far as known, unix seconds. before: the last bytes before the offset, at most WINDOW; None after `restore`,
    until the place is found again in a file.
    """

    __slots__ = ("_head", "_tail", "before", "mtime", "offset", "size")

    def __init__(self) -> None:
        self.mtime = 0.0
        self.begin()

    def begin(self) -> None:
        """Goes to the start of a generation."""
        self.offset = self.size = 0
        self.before: bytes | None = b""
        self._head = _digest(b"")  # of the first bytes, at most WINDOW
        self._tail = ""  # of what `before` was, while that is None

    def advance(self, data: bytes) -> None:
        """Goes past bytes that were read here."""
        assert self.before is not None
        if self.offset < WINDOW:
            self._head = _digest((self.before + data[:WINDOW])[:WINDOW])
        self.before = data[-WINDOW:] if len(data) >= WINDOW else (self.before + data)[-WINDOW:]
        self.offset += len(data)

    def jump(self, part: Part, offset: int) -> None:
        """Goes to `offset` without reading what lies before."""
        n = min(offset, WINDOW)
        self.offset = offset
        self.before = part.read(offset - n, n)
        self._head = _digest(part.read(0, n))

    def stands_in(self, part: Part) -> bool:
        """Whether the bytes before the place and those at the start are still there; for a file that was open before.

        The start tells runs apart that differ in their header only.
        """
        assert self.before is not None
        if part.read(self.offset - len(self.before), len(self.before)) != self.before:
            return False
        return self.offset <= WINDOW or _digest(part.read(0, WINDOW)) == self._head

    def found_in(self, part: Part) -> bytes | None:
        """The bytes before the place, if `part` holds the very stream that was read; otherwise None."""
        if not part.may_hold(self.offset, self.size):
            return None
        n = min(self.offset, WINDOW)
        if _digest(part.read(0, n)) != self._head:
            return None
        before = part.read(self.offset - n, n)
        return before if len(before) == n and _digest(before) == self._tail_digest else None

    @property
    def _tail_digest(self) -> str:
        return self._tail if self.before is None else _digest(self.before)

    def state(self) -> dict[str, Any]:
        """No log text: digests of it."""
        return {
            "version": _VERSION,
            "offset": self.offset,
            "size": self.size,
            "mtime": self.mtime,
            "head": self._head,
            "tail": self._tail_digest,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises ValueError, and changes nothing, if `state` is not one of a place."""
        _check(state)
        self.offset, self.size, self.mtime = state["offset"], state["size"], state["mtime"]
        self._head, self._tail = state["head"], state["tail"]
        self.before = None if self.offset else b""


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def _check(state: dict[str, Any]) -> None:
    if state.get("version") != _VERSION:
        raise ValueError(f"tail state of version {state.get('version')!r}, expected {_VERSION}")
    for name in ("offset", "size"):
        if not isinstance(state.get(name), int) or state[name] < 0:
            raise ValueError(f"tail state: {name} is {state.get(name)!r}, expected an integer of at least 0")
    if not isinstance(state.get("mtime"), int | float) or not state["mtime"] >= 0:
        raise ValueError(f"tail state: mtime is {state.get('mtime')!r}, expected unix seconds")
    if not isinstance(state.get("head"), str) or not isinstance(state.get("tail"), str):
        raise ValueError("tail state: head and tail must be digests")
