"""Keeps the state of runs in a folder: one file a run, offsets and detectors together, replaced atomically.

The folder is locked: two exporters in it would take each other's runs for their own.

After a crash the file holds the state of some moment as a whole: reading goes on from the offsets in it, and the
detectors are as they were at these offsets, so that nothing is counted twice or forgotten.

A file is a SHA-256 of all that follows, one line of JSON (version, key, paths of the sources, time), and the state as
JSON compressed with zlib.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import stat
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)
VERSION = 2
ENDING = ".state"
MAX_STATE = 64 << 20  # bytes of one unpacked state; a real one has some 100 kB
HANDOVER_S = 5.0  # so long a new exporter waits for the one before it to end
SHARED = "another exporter uses this folder; give each its own --state.dir"
UNUSABLE = (ValueError, KeyError, TypeError, AttributeError, IndexError, zlib.error, RecursionError, OverflowError)


@dataclass(frozen=True, slots=True)
class Saved:
    """What is known of a saved state without unpacking it."""

    key: str
    paths: tuple[str, ...]
    at: float  # unix seconds: when it was saved


class Store:
    """A folder of state files. A failure to write is logged, counted and survived."""

    def __init__(self, folder: str | None) -> None:
        self.folder = folder
        self.saves = 0
        self.failures = 0
        self.unusable = 0  # states, or folders of them, that could not be used
        self.problem: str | None = None
        self._lock: int | None = None  # the open folder, locked

    def save(self, key: str, state: str, *, paths: Sequence[str] = (), at: float = 0.0) -> bool:
        """Replaces the state (JSON) of `key`; True if its content is on the disk. See `sync`."""
        if self.folder is None:
            return False
        self.saves += 1
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            self._claim()
            self._replace(self._path(key), _pack(Saved(key, tuple(paths), at), state))
        except (OSError, ValueError) as e:
            self._failed(e)
            return False
        self.problem = None
        return True

    def sync(self) -> None:
        """Makes the names of all saved files durable. Before that a power cut may bring older states back."""
        if self.folder is None:
            return
        try:
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as e:
            self._failed(e)

    def index(self) -> Iterator[Saved]:
        """Every state that can be read; broken ones are set aside (`.bad`) and said."""
        if self.folder is None or not os.path.isdir(self.folder):
            return
        if not self._is_ours(HANDOVER_S):
            self.unusable += 1
            return
        for name in sorted(self._names()):
            path = os.path.join(self.folder, name)
            try:
                saved, _ = _split(_read(path))
            except OSError as e:
                self._unused(f"{path}: cannot be read: {e.strerror or e}; its run is read from the start")
            except UNUSABLE as e:
                self._unused(f"{path}: not a state of version {VERSION} ({e}); its run is read from the start")
                self._set_aside(path)
            else:
                yield saved

    def load(self, key: str) -> Any:
        """The state of `key`. Raises OSError or one of UNUSABLE."""
        _, body = _split(_read(self._path(key)))
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(body, MAX_STATE)
        if unpacker.unconsumed_tail:
            raise ValueError(f"longer than {MAX_STATE >> 20} MB")
        return json.loads(text)

    def forget(self, key: str) -> None:
        """Removes the state of `key`."""
        if self._is_ours():
            _remove(self._path(key))

    def discard(self, key: str) -> None:
        """Sets the state of `key` aside: it cannot be used."""
        self.unusable += 1
        if self._is_ours():
            self._set_aside(self._path(key))

    def close(self) -> None:
        """Leaves the folder to another exporter, as the end of the process does too."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

    def _is_ours(self, patience_s: float = 0.0) -> bool:
        """Whether nobody else uses the folder: two exporters would each go on with the other's states."""
        end = time.monotonic() + patience_s
        while self.folder is not None:
            try:
                self._claim()
                return True
            except OSError as e:
                if e.errno != errno.EBUSY or time.monotonic() >= end:
                    self._say(f"{self.folder}: {e.strerror}; nothing is restored from it")
                    return False
            time.sleep(0.1)
        return False

    def _claim(self) -> None:
        """Locks the folder for this process. Raises OSError if another one has it or there is none."""
        assert self.folder is not None
        if self._lock is not None and os.path.samestat(os.fstat(self._lock), os.stat(self.folder)):
            return
        self.close()  # the folder was removed and made anew
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(folder)
            raise OSError(errno.EBUSY, SHARED) from None
        except OSError:
            log.debug("no locks on the file system of %s", self.folder)
        self._lock = folder

    def _path(self, key: str) -> str:
        assert self.folder is not None
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        return os.path.join(self.folder, digest[:24] + ENDING)

    def _replace(self, path: str, data: bytes) -> None:
        part = f"{path}.part"
        try:
            with open(part, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError:
            _remove(part)
            raise

    def _names(self) -> list[str]:
        assert self.folder is not None
        try:
            return [name for name in os.listdir(self.folder) if name.endswith(ENDING)]
        except OSError as e:
            self._unused(f"{self.folder}: cannot be read: {e.strerror or e}; the logs are read from the start")
            return []

    def _set_aside(self, path: str) -> None:
        try:
            os.replace(path, path + ".bad")
        except OSError:
            log.debug("cannot set %s aside", path)

    def _failed(self, error: OSError | ValueError) -> None:
        self.failures += 1
        why = (error.strerror if isinstance(error, OSError) else None) or error
        self._say(f"state cannot be saved in {self.folder}: {why}; after a restart the logs are read again")

    def _unused(self, problem: str) -> None:
        self.unusable += 1
        self._say(problem)

    def _say(self, problem: str) -> None:
        """Logs a problem once, not at every try."""
        if problem != self.problem:
            log.error(problem)
        self.problem = problem


def _read(path: str) -> bytes:
    """The content of a regular file; anything else could block for ever."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("no regular file")
        return file.read()


def _pack(saved: Saved, state: str) -> bytes:
    head = {"version": VERSION, "key": saved.key, "paths": saved.paths, "at": saved.at}
    data = json.dumps(head).encode() + b"\n" + zlib.compress(state.encode(), 1)
    return hashlib.sha256(data).digest() + data


def _split(data: bytes) -> tuple[Saved, bytes]:
    """What stands in the first line, and the packed state. Raises one of UNUSABLE."""
    digest, data = data[:32], data[32:]
    if hashlib.sha256(data).digest() != digest:
        raise ValueError("torn or changed")
    line, _, body = data.partition(b"\n")
    head = json.loads(line)
    if head["version"] != VERSION:
        raise ValueError(f"version {head['version']}")
    return Saved(str(head["key"]), tuple(map(str, head["paths"])), float(head["at"])), body


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        log.debug("cannot remove %s", path)
