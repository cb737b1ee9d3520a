"""All detectors of one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import sub
from typing import Any

from training_monitor.detect.base import Detector
from training_monitor.detect.crash import Crash
from training_monitor.detect.divergence import Divergence
from training_monitor.detect.grad_norm import GradNorm
from training_monitor.detect.loss_level import LossLevel
from training_monitor.detect.loss_spike import LossSpike
from training_monitor.detect.mfu import MfuDrop
from training_monitor.detect.non_finite import NonFinite
from training_monitor.detect.plateau import Plateau
from training_monitor.detect.stall import Stall
from training_monitor.detect.step_time import StepTime
from training_monitor.detect.swings import Swings
from training_monitor.detect.thresholds import Thresholds
from training_monitor.records import KINDS, Event, Facts, Failure, Levels, Severity, Step, Steps
from training_monitor.state import Stateful

#: Every detector that works on steps, by name. Contract tests run over this table.
DETECTORS: dict[str, Callable[[Thresholds], Detector]] = {
    "non_finite": NonFinite,
    "loss_spike": LossSpike,
    "divergence": Divergence,
    "grad_norm": GradNorm,
    "plateau": Plateau,
    "swings": Swings,
    "mfu": MfuDrop,
    "step_time": StepTime,
}


GAP = 10  # a jump by so many times the usual distance of steps is a gap in the log


class Engine(Stateful):
    """Finds the anomalies of one run. The same steps give the same events, however they were split into batches."""

    __slots__ = ("crash", "detectors", "level", "outside", "spacing", "stall", "step")

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self.level = LossLevel()
        self.detectors = {name: detector(thresholds or Thresholds()) for name, detector in DETECTORS.items()}
        self.stall = Stall()
        self.crash = Crash()
        self.outside: dict[str, int] = {}  # open conditions that are judged elsewhere
        self.step = 0
        self.spacing = 0  # usual distance of logged steps, 0 while not known

    def learn(self, facts: Facts) -> None:
        """Takes what header lines say."""
        self.stall.flush_s = facts.flush_s or self.stall.flush_s
        for detector in self.detectors.values():
            detector.learn(facts)

    def update(self, steps: Sequence[Step]) -> list[Event]:
        """The events of these steps, in their order. Steps increase; the caller drops repeats and tells of restarts."""
        if not steps:
            return []
        steps = Steps.of(steps)
        events: list[Event] = []
        start = 0
        distances = list(map(sub, steps.step, (self.step, *steps.step)))
        if distances.count(self.spacing) < len(distances):
            for i, distance in enumerate(distances):
                if distance > GAP * self.spacing > 0:
                    events += self._update(steps.part(start, i))
                    self._restart()
                    start = i
                self.spacing = distance
        self.step = steps.step[-1]
        self.stall.stepped(steps, self.spacing)
        return events + self._update(steps.part(start, len(steps)))

    def _update(self, steps: Steps) -> list[Event]:
        scores = self.level.update(steps)
        found = [f for detector in self.detectors.values() for f in detector.update(steps, scores)]
        found.sort(key=lambda f: (f[0], KINDS.index(f[1].kind)))
        return [event for _, event in found]

    def _restart(self) -> None:
        """Steps are missing or come again: baselines stay; what must warm up again does."""
        self.spacing = 0
        self.level.restart()
        for detector in self.detectors.values():
            detector.resumed()

    def resumed(self, step: int | None) -> None:
        """A process restarted or the step went back."""
        self.crash.resumed()
        self.stall.resumed()
        self._restart()

    def failed(self, failure: Failure, step: int | None) -> list[Event]:
        """The event `crashed`, once for a chain of fatal errors."""
        event = self.crash.failed(failure, step)
        return [event] if event else []

    def observe(  # noqa: PLR0917 — one argument for each part of the event
        self,
        kind: str,
        severity: Severity | None,
        step: int | None,
        value: float | None,
        expected: float | None,
        message: str,
    ) -> list[Event]:
        """Takes the state of a condition judged outside (`over_budget`, …); None closes it. The event if it rises."""
        before = self.outside.pop(kind, 0)
        if severity is None:
            return []
        self.outside[kind] = int(severity)
        return [Event(step, kind, severity, value, expected, message)] if severity > before else []

    def finished(self) -> None:
        """The run came to its regular end: closes what is open, and silence is no stall any more."""
        self.stall.finished()
        self.outside.clear()
        for detector in self.detectors.values():
            detector.finished()

    def heard(self, at: float, size: int) -> None:
        """`size` bytes of the log arrived at unix time `at`; the steps in them follow by `update`."""
        self.stall.heard(at, size)

    def tick(self, now: float) -> list[Event]:
        """It is now `now` (unix seconds): the event `stalled` if the run has been silent for too long."""
        event = None if self.crash.condition.level else self.stall.tick(now)
        return [event] if event else []

    def active(self) -> dict[str, Severity]:
        """The open conditions by kind."""
        open_now = {kind: Severity(level) for kind, level in self.outside.items()}
        for kind, condition in (("stalled", self.stall.condition), ("crashed", self.crash.condition)):
            if condition.level:
                open_now[kind] = Severity(condition.level)
        for detector in self.detectors.values():
            for kind, severity in detector.active().items():
                open_now[kind] = max(severity, open_now.get(kind, severity))
        return open_now

    def levels(self) -> Levels:
        """What the detectors compare with, and what they see now."""
        known: dict[str, Any] = {"loss_baseline": self.level.baseline(), "stall_after_s": self.stall.limit_s()}
        for detector in self.detectors.values():
            known |= detector.levels()
        return Levels(**known)

    def restore(self, state: dict[str, Any]) -> None:
        """Raises ValueError if the state is of another set of detectors."""
        if set(state["detectors"]) != set(self.detectors):
            raise ValueError(f"state of {sorted(state['detectors'])}, expected {sorted(self.detectors)}")
        super().restore(state)
