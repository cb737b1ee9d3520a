"""Polls a slow source in a thread of its own, so that a server that hangs holds nobody up."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from training_monitor.clock import Clock
from training_monitor.records import Record, SourceStatus
from training_monitor.tail.records_source import RecordSource

log = logging.getLogger(__name__)
READY = 4  # polls whose records may wait to be fetched
LOOK_S = 0.5
AFTER_ERROR_S = 60.0


class Background:
    """A `RecordSource` around another one. `poll` gives what the thread has fetched and never blocks.

    `state` belongs to the records that `poll` has given: what was fetched but not given is fetched again after a
    restart.
    """

    def __init__(self, source: RecordSource, clock: Clock, *, on_news: Callable[[], None] | None = None) -> None:
        self._inner, self._clock, self._on_news = source, clock, on_news
        self.kind, self.source = source.kind, source.source
        self.problem: str | None = None
        self.next_poll_s = LOOK_S
        self.caught_up = False
        self._ready: deque[tuple[list[Record], dict[str, Any]]] = deque()
        self._change = threading.Condition()
        self._is_closed = False
        self._state = source.state()
        self._status = source.status("")
        self._thread: threading.Thread | None = None

    def poll(self, now: float) -> list[Record]:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self.source, daemon=True)
            self._thread.start()
        records: list[Record] = []
        with self._change:
            while self._ready:
                more, self._state = self._ready.popleft()
                records += more
            self.problem, self.caught_up = self._status.problem, self._inner.caught_up
            self._change.notify_all()
        return records

    def state(self) -> dict[str, Any]:
        return self._state

    def restore(self, state: dict[str, Any]) -> None:
        """Before the first poll. Raises KeyError, TypeError or ValueError if `state` is not of this version."""
        self._inner.restore(state)
        self._state = state

    def status(self, run: str) -> SourceStatus:
        from dataclasses import replace

        with self._change:
            return replace(self._status, run=run)

    def close(self) -> None:
        """The thread ends after its present request."""
        with self._change:
            self._is_closed = True
            self._change.notify_all()

    def _work(self) -> None:
        while not self._is_closed:
            wait = self._fetch()
            with self._change:
                self._change.wait_for(lambda: self._is_closed, wait)
                self._change.wait_for(lambda: self._is_closed or len(self._ready) < READY)
        self._inner.close()

    def _fetch(self) -> float:
        """One poll; returns seconds to the next."""
        inner = self._inner
        try:
            records = inner.poll(self._clock.now())
            state, status, wait = inner.state(), inner.status(""), inner.next_poll_s
        except Exception:  # the one edge of this thread
            log.exception("%s: reading failed; tried again in %g s", self.source, AFTER_ERROR_S)
            return AFTER_ERROR_S
        with self._change:
            self._status = status
            if records:
                self._ready.append((records, state))
        if records and self._on_news is not None:
            self._on_news()
        return wait
