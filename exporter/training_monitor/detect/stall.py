"""Finds a run that has gone silent for far longer than its own rhythm."""

from __future__ import annotations

import math
from collections import deque
from itertools import islice

from training_monitor.detect.base import Condition
from training_monitor.detect.windows import median
from training_monitor.records import Event, Severity, Steps
from training_monitor.state import Stateful

STARTUP_S = 1800.0  # silence allowed before the first step: imports, compilation, loading a checkpoint
YOUNG_S = 3600.0  # a run watched for less has perhaps not shown its first evaluation yet …
YOUNG_SILENCE_S = 600.0  # … and may be silent for so long
SILENCE_S = 300.0  # any run may be silent for so long
GAPS = 5.0  # silence allowed, in longest gaps; NVIDIA's resiliency extension learns its timeouts with the same factor
BLOCKS = 4.0  # silence allowed, in times to fill the buffer of a pipe
BUFFER = 8192  # bytes that Python holds back when it writes to a pipe
LINE = 160  # bytes of a line, where no size was told
FORGET = 400.0  # a gap is forgotten over so many times its own length
LEARN = 0.6  # part of the silence allowed that a stall may add to the rhythm: the next one of its kind is no news
RECENT = 9  # step times whose median is the pace
CRITICAL = 2.0  # silence that is critical, in silences allowed


class Stall(Stateful):
    """Silence for 5x the longest gap between arrivals of steps (warning), for 10x (critical), at least 5 minutes.

    Gaps are those that the reader sees, so blocks of a buffered pipe, evaluations and checkpoints are part of the
    rhythm. Before they are seen, the time that the run takes to fill a block of 8 kB stands for them. `heard` says that
    bytes came, `stepped` which steps were in them, `tick` that time passed.
    """

    __slots__ = (
        "block_s",
        "condition",
        "flush_s",
        "heard_at",
        "is_over",
        "lines",
        "longest",
        "seconds",
        "since",
        "size",
        "step",
        "stepped_at",
    )

    def __init__(self) -> None:
        self.condition = Condition(1)
        self.longest = 0.0  # seconds between arrivals of steps
        self.block_s = 0.0  # time that the steps of the last block took, seconds
        self.flush_s = 0.0  # what the source itself may hold back, seconds
        self.size = self.lines = 0  # bytes of the last arrival, and steps in it
        self.seconds: deque[float] = deque(maxlen=RECENT)  # the last step times
        self.heard_at: float | None = None
        self.stepped_at: float | None = None
        self.since: float | None = None  # when steps were first heard
        self.step: int | None = None
        self.is_over = False

    def heard(self, at: float, size: int) -> None:
        """`size` bytes arrived at unix time `at`."""
        if at != self.heard_at:
            self.size = self.lines = 0
        self.size += size
        self.heard_at = at

    def stepped(self, steps: Steps, spacing: int) -> None:
        """Takes the steps of the last arrival; `spacing`: usual distance of logged steps."""
        self.step = steps.step[-1]
        self.is_over = False
        known = (t for t in reversed(steps.step_time_s) if t is not None and 0.0 < t < math.inf)
        self.seconds.extend(reversed(list(islice(known, RECENT))))
        self.lines += len(steps)
        if self.seconds:
            lines = self.lines * min(1.0, BUFFER / (self.size or LINE * self.lines))
            self.block_s = median(sorted(self.seconds)) * max(spacing, 1) * max(lines, 1.0)
        at = self.heard_at
        if at is None:
            return
        if self.since is None or self.stepped_at is None:
            self.since = self.since or at
        elif at > self.stepped_at:
            gap = at - self.stepped_at
            self.longest = max(min(gap, LEARN * self._allowed(at)), self.longest - gap / FORGET)
        self.stepped_at = at
        self.condition.close()

    def _allowed(self, now: float) -> float:
        floor = YOUNG_SILENCE_S if now - (self.since or now) < YOUNG_S else SILENCE_S
        return max(floor, GAPS * self.longest, BLOCKS * self.block_s) + self.flush_s

    def limit_s(self) -> float | None:
        """Silence longer than this is a stall, seconds; None before anything was heard."""
        if self.heard_at is None:
            return None
        return STARTUP_S if self.stepped_at is None else self._allowed(self.stepped_at)

    def tick(self, now: float) -> Event | None:
        """It is now `now`, unix seconds."""
        limit = self.limit_s()
        last = self.heard_at if self.stepped_at is None else self.stepped_at
        if self.is_over or last is None or limit is None:
            return None
        silent = now - last
        level = 3 if silent > CRITICAL * limit else 2 if silent > limit else 0
        if not self.condition.rises(level):
            return None
        message = f"no new step for {silent:.0f} s; the rhythm of this run allows for {limit:.0f} s"
        return Event(self.step, "stalled", Severity(level), silent, limit, message, now)

    def resumed(self) -> None:
        """A new process: its first step may take as long as any first step."""
        self.stepped_at = None
        self.is_over = False
        self.condition.close()

    def finished(self) -> None:
        """The end is no stall."""
        self.is_over = True
        self.condition.close()
