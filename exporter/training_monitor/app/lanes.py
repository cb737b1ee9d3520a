"""Work that may hang (an NFS server that does not answer), done so that it holds up nothing else.

Each file system has a lane: a queue with a thread of its own. When what that thread waits for does not come within
`HUNG_S`, another thread goes on with the rest of the queue, up to `MOST_WORKERS` of them; beyond that the file system
hangs as a whole, and nothing else does. A hanging thread cannot be ended, but it does not keep the process from ending.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import Any, Protocol

log = logging.getLogger(__name__)
HUNG_S = 1.0  # longer than a slow file server takes for a megabyte
MOST_WORKERS = 4  # threads of one lane: so many files may hang before their file system counts as hanging


class Job(Protocol):
    """Something to do in a lane, never by two threads at once."""

    def fetch(self) -> Any:
        """What may hang. Holds no lock that anything else needs."""
        ...

    def take(self, found: Any) -> bool:
        """What follows from it; True if the job wants another turn."""
        ...


class _Lane:
    def __init__(self, lock: threading.Lock) -> None:
        self.wanted = threading.Condition(lock)
        self.todo: dict[Job, None] = {}  # in their order
        self.fetching: dict[Job, float] = {}  # since (monotonic seconds)
        self.taking: set[Job] = set()
        self.again: set[Job] = set()  # asked for while they were being done
        self.workers = self.idle = 0

    def hanging(self, now: float) -> int:
        return sum(now - since > HUNG_S for since in self.fetching.values())

    def is_settled(self, now: float) -> bool:
        """Nothing is being done, or wanted that could be done."""
        hanging = self.hanging(now)
        return not self.taking and hanging == len(self.fetching) and (not self.todo or hanging >= MOST_WORKERS)


class Lanes:
    """All lanes. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settled = threading.Condition(self._lock)
        self._lanes: dict[str, _Lane] = {}
        self._is_closed = False
        self.errors = 0  # jobs that ended in an exception

    def put(self, name: str, jobs: Iterable[Job]) -> None:
        """Wants a turn of each of these jobs in the lane `name`; one that is under way gets another turn after it."""
        with self._lock:
            lane = self._lanes.setdefault(name, _Lane(self._lock))
            for job in jobs if not self._is_closed else ():
                if job in lane.fetching or job in lane.taking:
                    lane.again.add(job)
                else:
                    lane.todo[job] = None
            if lane.todo and lane.idle:
                lane.wanted.notify()
            else:
                self._help(name, lane)

    def help(self) -> None:
        """Starts another thread where one hangs and others wait. To be called about once a second."""
        with self._lock:
            for name, lane in self._lanes.items():
                self._help(name, lane)

    def settle(self, timeout_s: float) -> bool:
        """Waits until all that is wanted is done, or hangs; False if that takes longer than `timeout_s`."""
        end = time.monotonic() + timeout_s
        with self._lock:
            while not all(lane.is_settled(time.monotonic()) for lane in self._lanes.values()):
                left = end - time.monotonic()
                if left <= 0:
                    return False
                self._settled.wait(min(left, 0.1))
                for name, lane in self._lanes.items():
                    self._help(name, lane)
        return True

    def is_hanging(self) -> bool:
        """Something that was begun has not come for `HUNG_S`."""
        with self._lock:
            return any(lane.hanging(time.monotonic()) for lane in self._lanes.values())

    def close(self, timeout_s: float) -> bool:
        """Drops what is waiting, and whatever is wanted later; waits for what is under way; False if it hangs."""
        with self._lock:
            self._is_closed = True
            for lane in self._lanes.values():
                lane.todo.clear()
                lane.wanted.notify_all()
        return self.settle(timeout_s) and not any(lane.fetching for lane in self._lanes.values())

    def _help(self, name: str, lane: _Lane) -> None:
        if not lane.todo or self._is_closed or lane.workers >= MOST_WORKERS:
            return
        if lane.workers <= lane.hanging(time.monotonic()):
            lane.workers += 1
            threading.Thread(target=self._work, args=(lane,), name=f"lane {name}", daemon=True).start()

    def _work(self, lane: _Lane) -> None:
        while (job := self._next(lane)) is not None:
            again = False
            try:
                found = job.fetch()
                self._fetched(lane, job)
                again = not self._is_closed and job.take(found)
            except Exception:
                log.exception("internal error; it was survived")
                self.errors += 1
            self._done(lane, job, again)

    def _next(self, lane: _Lane) -> Job | None:
        """The next job; None if this thread is not needed any more."""
        with self._lock:
            while not lane.todo:
                if self._is_closed or lane.idle:
                    lane.workers -= 1
                    return None
                lane.idle += 1
                lane.wanted.wait()
                lane.idle -= 1
            job = next(iter(lane.todo))
            del lane.todo[job]
            lane.fetching[job] = time.monotonic()
            return job

    def _fetched(self, lane: _Lane, job: Job) -> None:
        with self._lock:
            del lane.fetching[job]
            lane.taking.add(job)

    def _done(self, lane: _Lane, job: Job, again: bool) -> None:
        with self._lock:
            lane.fetching.pop(job, None)
            lane.taking.discard(job)
            if again or job in lane.again:
                lane.again.discard(job)
                if not self._is_closed:
                    lane.todo[job] = None
            if not lane.todo:
                self._settled.notify_all()
