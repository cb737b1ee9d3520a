"""Who may ask: the web configuration in force, re-read when a file of it changes; users; rate limit."""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from training_monitor.errors import ConfigError
from training_monitor.expose.site import Response, text
from training_monitor.expose.tls import Tls
from training_monitor.expose.web_config import WebSettings, load

log = logging.getLogger(__name__)
#: Hash of nobody's password: an unknown user takes as long as a known one.
_NOBODY = "$2b$10$..nEkNpVbIwWvfEP2tTSheF8u.jf09tmrTg7CnXJCNvQT60BB6g6K"
_MAX_CACHED = 100
_BCRYPT_BYTES = 72  # bcrypt takes no more of a password


@dataclass(frozen=True, slots=True)
class Rules:
    """The web configuration in force for one connection."""

    settings: WebSettings = field(default_factory=WebSettings)
    tls: Tls | None = None


class Guard:
    """Gives the rules in force and says who is refused. Safe to use from many threads."""

    def __init__(self, path: str | None = None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Without a path everyone may ask, unencrypted. Raises ConfigError if the file is wrong."""
        self._path = Path(path) if path is not None else None
        self._lock = threading.Lock()
        self._users = _Users()
        self._bucket = _Bucket(monotonic)
        self._watched: tuple[str, ...] = ()
        self._seen: tuple[object, ...] = ()
        self._rules = Rules()
        if self._path is not None:
            self._read(self._path)

    def rules(self) -> Rules:
        """The rules in force; a file that changed is read first. A new file that is wrong leaves the old rules."""
        if self._path is None:
            return self._rules
        with self._lock:
            if self._stamps() != self._seen:
                try:
                    self._read(self._path)
                    log.info("web configuration read again: %s", self._path)
                except ConfigError as problem:
                    log.error("web configuration is wrong, the one before stays in force: %s", problem)
            return self._rules

    def refusal(self, rules: Rules, authorization: str | None) -> Response | None:
        """Why the request is not answered; None if it is."""
        s = rules.settings
        if s.rate_interval_s and not self._bucket.take(s.rate_interval_s, s.rate_burst):
            return text(429, "Too many requests.\n")
        if s.users and not self._users.knows(s.users, authorization):
            return text(401, "Unauthorized.\n", {"WWW-Authenticate": "Basic"})
        return None

    def _read(self, path: Path) -> None:
        """Stamps are taken before the reading: what changes meanwhile is read again."""
        self._seen = self._stamps()
        own = _stamp(str(path))
        settings = load(path)
        self._watched = settings.tls.files if settings.tls else ()
        self._seen = (own, *self._stamps()[1:])
        self._rules = Rules(settings, Tls(settings.tls, str(path)) if settings.tls else None)

    def _stamps(self) -> tuple[object, ...]:
        return tuple(_stamp(name) for name in (str(self._path), *self._watched))


def _stamp(name: str) -> object:
    try:
        s = os.stat(name)
    except OSError as problem:
        return problem.errno
    return s.st_mtime_ns, s.st_size, s.st_ino


class _Users:
    """Checks passwords. One bcrypt at a time, and what it said is kept: guessing must not eat the machine.

    Right passwords are kept apart and looked up without waiting: guessing must not hold up or forget who scrapes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._right: set[bytes] = set()
        self._wrong: set[bytes] = set()

    def knows(self, users: Mapping[str, str], authorization: str | None) -> bool:
        name, password = _credentials(authorization)
        if name is None:
            return False
        hashed = users.get(name, _NOBODY)
        key = hashlib.sha256(b"\0".join((name.encode(), hashed.encode(), password))).digest()
        if key not in self._right:
            with self._lock:
                self._judge(key, password, hashed)
        return key in self._right and name in users

    def _judge(self, key: bytes, password: bytes, hashed: str) -> None:
        if key in self._right or key in self._wrong:
            return
        kept = self._right if _matches(password, hashed) else self._wrong
        if len(kept) >= _MAX_CACHED:
            kept.clear()
        kept.add(key)


def _matches(password: bytes, hashed: str) -> bool:
    import bcrypt

    try:
        return bcrypt.checkpw(password[:_BCRYPT_BYTES], hashed.encode())
    except ValueError:  # a password with a NUL
        return False


def _credentials(authorization: str | None) -> tuple[str | None, bytes]:
    """User and password of a Basic header; no user if it is not one."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None, b""
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (name.decode(), password) if colon else (None, b"")
    except (binascii.Error, ValueError):
        return None, b""


class _Bucket:
    """A token bucket: `burst` requests at once, one more every interval."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._tokens = float("inf")
        self._time = monotonic()

    def take(self, interval_s: float, burst: int) -> bool:
        with self._lock:
            now = self._monotonic()
            self._tokens = min(float(burst), self._tokens + (now - self._time) / interval_s)
            self._time = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
