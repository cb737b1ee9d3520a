"""Finds a run that has gone silent for far longer than its own rhythm."""

from __future__ import annotations

from collections import deque

from training_monitor.detect.base import Condition
from training_monitor.records import Event, Severity
from training_monitor.state import Stateful

STARTUP_S = 1800.0  # silence allowed before the first step: imports, compilation, loading a checkpoint
UNKNOWN_S = 600.0  # silence allowed while the rhythm is not known
SHORTEST_S = 120.0  # silence shorter than this is never a stall
FACTOR = 5.0  # silence allowed, in longest gaps seen; NVIDIA's resiliency extension uses the same safety factor
CRITICAL_FACTOR = 2.0  # critical, in silences allowed


class Stall(Stateful):
    """Silence for 5x the longest recent gap between arrivals of steps (warning), for 10x (critical).

    The gaps are those that the reader sees, so blocks of a buffered pipe, evaluations and checkpoints are part of the
    rhythm. `heard` says when bytes came, `stepped` that there were steps in them, `tick` that time passed.
    """

    __slots__ = ("condition", "flush_s", "gaps", "heard_at", "over", "step", "stepped_at")

    def __init__(self) -> None:
        self.condition = Condition(1)
        self.gaps: deque[float] = deque(maxlen=64)
        self.heard_at: float | None = None
        self.stepped_at: float | None = None
        self.step: int | None = None
        self.flush_s = 0.0
        self.over = False

    def heard(self, at: float, size: int) -> None:
        self.heard_at = at

    def stepped(self, step: int) -> None:
        self.step = step
        self.over = False
        if self.heard_at is not None and self.heard_at != self.stepped_at:
            if self.stepped_at is not None and not self.condition.level:
                self.gaps.append(max(0.0, self.heard_at - self.stepped_at))
            self.stepped_at = self.heard_at
        self.condition.close()

    def tick(self, now: float) -> Event | None:
        limit = self.limit_s()
        since = self.heard_at if self.stepped_at is None else self.stepped_at
        if self.over or since is None or limit is None:
            return None
        silent = now - since
        level = 3 if silent > CRITICAL_FACTOR * limit else 2 if silent > limit else 0
        if not self.condition.rises(level):
            return None
        message = f"no new step for {silent:.0f} s; this run's rhythm allows for {limit:.0f} s"
        return Event(self.step, "stalled", Severity(level), silent, limit, message, now)

    def limit_s(self) -> float | None:
        """Silence longer than this is a stall, seconds."""
        if self.heard_at is None:
            return None
        if self.stepped_at is None:
            return STARTUP_S
        known = len(self.gaps) >= 5
        return max(SHORTEST_S if known else UNKNOWN_S, FACTOR * max(self.gaps, default=0.0) + self.flush_s)

    def resumed(self) -> None:
        """A new process: its first step may take as long as any first step."""
        self.stepped_at = None
        self.over = False
        self.condition.close()

    def finished(self) -> None:
        self.over = True
        self.condition.close()
