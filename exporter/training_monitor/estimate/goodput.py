"""Where the wall time of a run goes: productive steps, and what is lost to everything else.

After Google's ml-goodput (productive step time over lifetime, and badput by cause), as far as a log tells: lines that
carry a time, or the times at which a live log grew. The time between two such moments, less the step times in between,
is what was spent outside the steps; pauses that the log mentions in between say on what.
"""

from __future__ import annotations

from training_monitor.estimate.pauses import KINDS, Pauses
from training_monitor.records import Goodput
from training_monitor.state import Stateful

#: Idle time between two moments that is called a stall when the log mentions no pause: at least so many seconds …
STALL_S = 60.0
#: … and so many step times.
STALL_STEPS = 10


class WallTime(Stateful):
    """Divides wall time by what it was spent on. State: some twelve numbers.

    The start of each process until its first step line counts as start-up, whatever it held. Steps that a resumed
    process does again are lost work ("rework"), charged at the mean step time. What nothing explains is "other".
    """

    __slots__ = ("first", "kinds", "last", "lost", "named", "productive_at_first", "productive_at_last", "starting")

    def __init__(self) -> None:
        self.first: float | None = None  # unix seconds of the first known moment
        self.last: float | None = None  # … and of the latest one
        self.productive_at_first = 0.0
        self.productive_at_last = 0.0
        self.lost: dict[str, float] = dict.fromkeys(("startup", *KINDS, "stall", "rework"), 0.0)
        self.kinds: list[str] = []  # pauses since the latest moment whose cost is not known
        self.named = 0.0  # seconds of pauses since the latest moment that the log itself tells
        self.starting = True

    @property
    def is_due(self) -> bool:
        """Is the time until the next moment spent on something that has a name?"""
        return self.starting or bool(self.kinds)

    def paused(self, kind: str, seconds: float | None) -> None:
        """The log mentions a pause."""
        if seconds is not None:
            self.named += seconds
            self.lost[kind] += seconds
        elif kind in KINDS and kind not in self.kinds:
            self.kinds.append(kind)

    def other_clock(self) -> None:
        """Moments are told by another clock from now on: those known cannot be compared with them."""
        self.first = self.last = None

    def moment(self, at: float, productive_s: float, pauses: Pauses, *, has_step: bool) -> None:
        """At unix time `at` the steps had taken `productive_s` altogether; `has_step`: this process has made one."""
        if self.first is None or self.last is None:
            self.first = self.last = at
            self.productive_at_first = self.productive_at_last = productive_s
        elif at > self.last:
            if self.is_due:
                self._book(self.outside_s(at, productive_s), pauses)
            self.last, self.productive_at_last = at, productive_s
        else:
            return  # several lines in the same instant, or a clock that was set back
        self.kinds.clear()
        self.named = 0.0
        self.starting = self.starting and not has_step

    def outside_s(self, at: float, productive_s: float) -> float:
        """Seconds from the latest moment until `at` in which no step was done and of which the log says nothing."""
        if self.last is None:
            return 0.0
        return at - self.last - (productive_s - self.productive_at_last) - self.named

    def stalled(self, outside_s: float, step_time_s: float | None) -> None:
        """Books an interval between two lines without any pause, if it is long enough to be a stall."""
        if outside_s > max(STALL_S, STALL_STEPS * (step_time_s or 0.0)):
            self.lost["stall"] += outside_s

    def resumed(self, repeated_steps: int, step_time_s: float | None) -> None:
        """A new process goes on, and does some steps again."""
        self.starting = True
        if self.first is not None and step_time_s is not None:
            self.lost["rework"] += repeated_steps * step_time_s

    def _book(self, outside_s: float, pauses: Pauses) -> None:
        if self.starting:
            self.lost["startup"] += outside_s
            return
        for kind, seconds in pauses.shares(self.kinds, outside_s).items():
            self.lost[kind] += seconds
            pauses.took(kind, seconds)

    @property
    def elapsed_s(self) -> float:
        """Seconds between the first and the latest known moment."""
        return self.last - self.first if self.first is not None and self.last is not None else 0.0

    @property
    def inside_s(self) -> float:
        """Seconds of these that steps took, done for the first time or again."""
        return self.productive_at_last - self.productive_at_first

    @property
    def other_s(self) -> float:
        """Seconds that neither steps nor anything with a name took."""
        return max(0.0, self.elapsed_s - self.inside_s - sum(self.lost.values()) + self.lost["rework"])

    def goodput(self) -> Goodput | None:
        """The split of the time between the first and the latest known moment; None without two of them."""
        wall = self.elapsed_s
        if wall <= 0:
            return None
        lost = {kind: seconds for kind, seconds in (*self.lost.items(), ("other", self.other_s)) if seconds > 0}
        productive = min(wall, max(0.0, self.inside_s - self.lost["rework"]))
        return Goodput(productive / wall, wall, productive, lost)
