"""Keeps the state of runs in a folder: one file a run, offset and detectors together, replaced atomically.

After a crash the file holds the state of some moment as a whole: reading goes on from the offset in it, and the
detectors are as they were at that offset, so that nothing is counted twice or forgotten.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Iterator
from typing import Any

log = logging.getLogger(__name__)
VERSION = 1
ENDING = ".state"


class Store:
    """A folder of state files. No method raises: a failure is logged, counted and survived."""

    def __init__(self, folder: str | None) -> None:
        self.folder = folder
        self.saves = 0
        self.failures = 0
        self.problem: str | None = None

    def save(self, key: str, state: dict[str, Any]) -> bool:
        """Replaces the state of `key`; True if it is durably on disk."""
        if self.folder is None:
            return False
        self.saves += 1
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            self._replace(self._path(key), _pack({"version": VERSION, "key": key, "state": state}))
        except OSError as e:
            self.failures += 1
            self._say(
                f"state cannot be saved in {self.folder}: {e.strerror or e}; after a restart the logs are read again"
            )
            return False
        self.problem = None
        return True

    def load(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every readable state with its key; broken ones are set aside (`.bad`) and said."""
        if self.folder is None or not os.path.isdir(self.folder):
            return
        for name in sorted(_names(self.folder)):
            path = os.path.join(self.folder, name)
            try:
                with open(path, "rb") as file:
                    found = _unpack(file.read())
            except OSError as e:
                self._say(f"{path}: cannot be read: {e.strerror or e}; its run is read from the start")
            except (ValueError, KeyError, TypeError, zlib.error) as e:
                self._say(f"{path}: not a state of version {VERSION} ({e}); its run is read from the start")
                self.discard(path)
            else:
                yield found

    def forget(self, key: str) -> None:
        """Removes the state of `key`."""
        if self.folder is not None:
            _remove(self._path(key))

    def discard(self, path: str) -> None:
        """Sets a file aside that cannot be used."""
        try:
            os.replace(path, path + ".bad")
        except OSError:
            log.debug("cannot set %s aside", path)

    def path(self, key: str) -> str:
        return self._path(key)

    def _path(self, key: str) -> str:
        assert self.folder is not None
        return os.path.join(
            self.folder, hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:24] + ENDING
        )

    def _replace(self, path: str, data: bytes) -> None:
        part = f"{path}.{os.getpid()}.part"
        try:
            with open(part, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError:
            _remove(part)
            raise
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _say(self, problem: str) -> None:
        """Logs a problem once, not at every try."""
        if problem != self.problem:
            log.error(problem)
        self.problem = problem


def _pack(document: dict[str, Any]) -> bytes:
    body = zlib.compress(json.dumps(document, separators=(",", ":")).encode(), 1)
    return hashlib.sha256(body).digest() + body


def _unpack(data: bytes) -> tuple[str, dict[str, Any]]:
    digest, body = data[:32], data[32:]
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("torn or changed")
    document = json.loads(zlib.decompress(body))
    if document["version"] != VERSION:
        raise ValueError(f"version {document['version']}")
    return document["key"], document["state"]


def _names(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.endswith(ENDING)]
    except OSError as e:
        log.error("%s: cannot be read: %s", folder, e.strerror or e)
        return []


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        log.debug("cannot remove %s", path)
