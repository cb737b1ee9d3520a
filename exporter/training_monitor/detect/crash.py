"""Turns error lines into one crash."""

from __future__ import annotations

from training_monitor.detect.base import Condition
from training_monitor.records import Event, Failure, Severity
from training_monitor.state import Stateful


class Crash(Stateful):
    """The first fatal error line is the crash; those that follow are its echoes until the run goes on."""

    __slots__ = ("condition",)

    def __init__(self) -> None:
        self.condition = Condition(1)

    def failed(self, failure: Failure, step: int | None) -> Event | None:
        if not failure.fatal or not self.condition.rises(3):
            return None
        where = "before the first step" if step is None else f"after step {step}"
        message = f"run crashed {where}: {failure.kind}: {failure.text[:200]}"
        return Event(step, "crashed", Severity.CRITICAL, None, None, message, failure.time)

    def resumed(self) -> None:
        self.condition.close()
