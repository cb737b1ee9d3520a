"""Tells which files may have changed: by inotify where it works, by the clock where it does not.

Folders are watched, not files, so that files which appear, are renamed or replaced are seen. Polled instead, every
`poll_s`: files on network file systems (other machines write there), files whose folder does not exist yet, and all
of them where inotify is missing or its limits are reached. As a safety net every path is named once in `sweep_s`:
a look at an unchanged file costs 2 µs, and some changes send no event (mmap, a link switched further up in the path).

Of the libraries, inotify_simple is one module around three system calls; watchdog would add a thread for each folder.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from training_monitor.tail.mounts import Mounts

_MODIFY, _ATTRIB, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x4, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _UNMOUNT, _OVERFLOW, _IGNORED, _ONLYDIR = 0x400, 0x800, 0x2000, 0x4000, 0x8000, 0x1000000
_APPEARED = _CREATE | _MOVED_TO
_FOLDER_GONE = _DELETE_SELF | _MOVE_SELF | _UNMOUNT | _IGNORED
_MASK = _MODIFY | _ATTRIB | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR


class Watcher:
    """Files and folders to wait for. One thread adds, removes and waits; any thread or signal handler may `wake` it.

    `settle_s` is the shortest time between two answers that name files; what happens in it is answered at its end.
    So a thousand runs that write all the time cost one round per `settle_s`, and a line is seen at most so much later.
    """

    def __init__(
        self, poll_s: float = 2.0, *, settle_s: float = 0.03, sweep_s: float = 30.0, mounts: Mounts | None = None
    ) -> None:
        self.poll_s, self.settle_s, self.sweep_s = poll_s, settle_s, sweep_s
        self.problem: str | None = None  # why files are polled that could be notified of
        self._given_mounts = mounts
        self._mounts = mounts or Mounts.read()
        self._places: dict[str, list[tuple[int, str]]] = {}  # path → where it is watched: watch, name in the folder
        self._watches: dict[int, dict[str, set[str]]] = {}  # watch → name → paths; name "" is the folder itself
        self._folders: set[str] = set()
        self._polled: set[str] = set()
        self._links: set[str] = set()  # paths with a symbolic link in them, watched at both ends
        self._added: set[str] = set()  # not named by `wait` yet
        self._answered = 0.0
        self._next_poll = time.monotonic() + poll_s
        self._next_sweep = time.monotonic() + sweep_s
        self._wake_reader, self._wake_writer = os.pipe()
        for end in (self._wake_reader, self._wake_writer):
            os.set_blocking(end, False)
        self._inotify = self._open_inotify()
        self._poller, self._waker = select.poll(), select.poll()
        for poller in (self._poller, self._waker):
            poller.register(self._wake_reader, select.POLLIN)
        if self._inotify is not None:
            self._poller.register(self._inotify.fileno(), select.POLLIN)

    def add(self, path: str, *, is_folder: bool = False) -> None:
        """Watches a file, which need not exist, or a folder for new entries. The next `wait` names it at once."""
        if path not in self._places:
            self._places[path] = []
            self._added.add(path)
            if is_folder:
                self._folders.add(path)
            self._attach(path)

    def remove(self, path: str) -> None:
        for place in self._places.pop(path, ()):
            self._unhook(path, place)
        for paths in (self._folders, self._polled, self._links, self._added):
            paths.discard(path)

    def is_polled(self, path: str) -> bool:
        """Whether changes of `path` are noticed by the clock only."""
        return path in self._polled

    def wait(self, timeout_s: float) -> set[str]:
        """Files that may have changed and folders that have new entries; empty after `timeout_s` or `wake`."""
        now = time.monotonic()
        end = now + timeout_s
        if self._pause(min(self._answered + self.settle_s, end) - now):
            return set()
        due = now if self._added else min(end, self._next_sweep, self._next_poll if self._polled else end)
        ready = {fd for fd, _ in self._poller.poll(max(0.0, due - time.monotonic()) * 1000)}
        self._drain()
        changed, self._added = self._added, set()
        if ready - {self._wake_reader}:
            changed |= self._events()
        changed |= self._due(time.monotonic())
        if changed:
            self._answered = time.monotonic()
        return changed

    def wake(self) -> None:
        """Makes `wait` return now; safe in any thread and in signal handlers, also after `close`."""
        with suppress(OSError):  # a full pipe wakes anyway
            os.write(self._wake_writer, b"\0")

    def close(self) -> None:
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
        for fd in (self._wake_reader, self._wake_writer):
            if fd >= 0:
                os.close(fd)
        self._wake_reader = self._wake_writer = -1

    def _pause(self, seconds: float) -> bool:
        """Lets changes gather; True if woken."""
        woken = seconds > 0 and bool(self._waker.poll(seconds * 1000))
        if woken:
            self._drain()
        return woken

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._wake_reader, 4096):
                pass

    def _open_inotify(self) -> Any:
        try:
            from inotify_simple import INotify  # type: ignore[import-untyped,import-not-found,unused-ignore]

            return INotify(nonblocking=True)
        except (ImportError, AttributeError):  # no such library, or no such system call
            self.problem = "no file notification on this system; files are polled"
        except OSError as error:
            self.problem = f"no file notification ({error.strerror}: fs.inotify.max_user_instances); files are polled"
        return None

    def _events(self) -> set[str]:
        """What the kernel says has changed."""
        changed: set[str] = set()
        for watch, mask, _, name in self._inotify.read(timeout=0):
            names = self._watches.get(watch)
            if mask & _OVERFLOW:
                changed.update(self._places)
            elif names is None:  # removed since
                continue
            elif mask & _FOLDER_GONE:
                changed |= self._folder_gone(watch)
            elif name in names:
                changed |= names[name]
                if mask & _APPEARED and not self._links.isdisjoint(names[name]):
                    self._attach_all(self._links & names[name])
            elif mask & _APPEARED:
                changed |= names.get("", set())
        return changed

    def _folder_gone(self, watch: int) -> set[str]:
        """Its files are looked for anew: at the same path there may be another folder."""
        paths = set().union(*self._watches[watch].values())
        self._attach_all(paths)
        return paths

    def _due(self, now: float) -> set[str]:
        """What the clock says to look at."""
        if now < self._next_sweep:
            if not self._polled or now < self._next_poll:
                return set()
            self._next_poll = now + self.poll_s
            polled = self._polled - self._folders  # folders on network file systems are scanned by the caller
            self._attach_all(self._polled)  # a missing folder may exist by now
            return polled
        self._next_sweep, self._next_poll = now + self.sweep_s, now + self.poll_s
        self._mounts = self._given_mounts or Mounts.read()
        self._attach_all(self._places)  # a folder further up may have been moved
        return set(self._places)

    def _attach_all(self, paths: Iterable[str]) -> None:
        for path in list(paths):
            self._attach(path)

    def _attach(self, path: str) -> None:
        """Puts watches where `path` lies now, and takes them away where it lay before."""
        before = self._places[path]
        now = self._places[path] = self._hook(path)
        for place in before:
            if place not in now:
                self._unhook(path, place)
        (self._polled.discard if now else self._polled.add)(path)

    def _hook(self, path: str) -> list[tuple[int, str]]:
        if self._inotify is None or self._mounts.network(path) is not None:
            return []
        real, absolute = os.path.realpath(path), os.path.abspath(path)
        (self._links.discard if real == absolute else self._links.add)(path)
        places = []
        for location in dict.fromkeys((absolute, real)):
            folder, name = (location, "") if path in self._folders else os.path.split(location)
            try:
                watch = self._inotify.add_watch(folder, _MASK)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    self.problem = "too many folders for notification (fs.inotify.max_user_watches); some are polled"
                continue
            self._watches.setdefault(watch, {}).setdefault(name, set()).add(path)
            if (watch, name) not in places:
                places.append((watch, name))
        return places

    def _unhook(self, path: str, place: tuple[int, str]) -> None:
        watch, name = place
        names = self._watches.get(watch, {})
        names.get(name, set()).discard(path)
        if name in names and not names[name]:
            del names[name]
        if watch in self._watches and not names:
            del self._watches[watch]
            with suppress(OSError):  # its folder is gone
                self._inotify.rm_watch(watch)
