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
    process does again are lost work ("rework"), charged at the mean step time.
    """

    __slots__ = ("first", "kinds", "last", "lost", "named", "productive_at_first", "productive_at_last", "starting")

    def __init__(self) -> None:
        self.first: float | None = None  # unix seconds of the first known moment
        self.last: float | None = None  # … and of the latest one
        self.productive_at_first = 0.0
        self.productive_at_last = 0.0
        self.lost: dict[str, float] = dict.fromkeys(("startup", *KINDS, "stall", "rework", "other"), 0.0)
        self.kinds: list[str] = []  # pauses since the latest moment whose cost is not known
        self.named = 0.0  # seconds of pauses since the latest moment that the log itself tells
        self.starting = True

    def paused(self, kind: str, seconds: float | None) -> None:
        """The log mentions a pause."""
        if seconds is not None:
            self.named += seconds
            self.lost[kind] += seconds
        elif kind in KINDS and kind not in self.kinds:
            self.kinds.append(kind)

    def moment(self, at: float, productive_s: float, step_time_s: float | None, pauses: Pauses, *, step: bool) -> None:
        """At unix time `at` the steps had taken `productive_s` altogether; `step`: this process has made one."""
        if self.first is None or self.last is None:
            self.first = self.last = at
            self.productive_at_first = self.productive_at_last = productive_s
        elif at > self.last:
            self._spent(at - self.last - (productive_s - self.productive_at_last) - self.named, step_time_s, pauses)
            self.last, self.productive_at_last = at, productive_s
        else:
            return  # several lines in the same instant, or a clock that was set back
        self.kinds.clear()
        self.named = 0.0
        self.starting = self.starting and not step

    def resumed(self, repeated_steps: int, step_time_s: float | None) -> None:
        """A new process goes on, and does some steps again."""
        self.starting = True
        if self.first is not None and step_time_s is not None:
            self.lost["rework"] += repeated_steps * step_time_s

    def _spent(self, outside_s: float, step_time_s: float | None, pauses: Pauses) -> None:
        """Books time outside the steps."""
        if self.starting:
            self.lost["startup"] += outside_s
        elif self.kinds:
            for kind, seconds in pauses.shares(self.kinds, outside_s).items():
                self.lost[kind] += seconds
                pauses.took(kind, seconds)
        elif outside_s > max(STALL_S, STALL_STEPS * (step_time_s or 0.0)):
            self.lost["stall"] += outside_s
        else:
            self.lost["other"] += outside_s

    @property
    def elapsed_s(self) -> float:
        """Seconds between the first and the latest known moment."""
        return self.last - self.first if self.first is not None and self.last is not None else 0.0

    @property
    def idle_share(self) -> float:
        """Seconds outside the steps, for no stated reason, for each second inside them."""
        inside = self.productive_at_last - self.productive_at_first
        return max(0.0, self.lost["other"] / inside) if inside > 0 else 0.0

    def goodput(self) -> Goodput | None:
        """The split of the time between the first and the latest known moment; None without two of them."""
        wall = self.elapsed_s
        if wall <= 0:
            return None
        lost = {kind: seconds for kind, seconds in self.lost.items() if seconds > 0}
        productive = self.productive_at_last - self.productive_at_first - self.lost["rework"]
        productive = min(wall, max(0.0, productive))
        return Goodput(productive / wall, wall, productive, lost)
