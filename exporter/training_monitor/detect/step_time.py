"""Finds steps that take longer than they did."""

from __future__ import annotations

import math
from collections.abc import Sequence

from training_monitor.detect.base import Detector, Found, Scores, event
from training_monitor.detect.pace import Pace
from training_monitor.detect.thresholds import Thresholds
from training_monitor.records import Step


class StepTime(Detector):
    """Step time as a running median of 11: 1.5x its baseline is a warning, 2x critical; from 1.04x on a notice.

    Where the log has an MFU, the small excesses are the business of `MfuDrop`.
    """

    __slots__ = ("pace",)

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__(slowdown=20)
        self.pace = Pace(thresholds.slowdown.warning, thresholds.slowdown.critical, sigmas=4.5)

    def update(self, steps: Sequence[Step], scores: Scores) -> list[Found]:
        found: list[Found] = []
        condition = self.conditions["slowdown"]
        push = self.pace.push
        for at, step in enumerate(steps):
            seconds = step.step_time_s
            if seconds is None or not 0 < seconds < math.inf:
                continue
            level = push(seconds)
            if level == 1 and step.mfu_ratio is not None:
                level = 0
            if (level or condition.level) and condition.rises(level):
                now, base = self.pace.now(41 if level == 1 else 11), self.pace.base
                if now and base:
                    message = (
                        f"step time {now:.3g} s at step {step.step} is {now / base:.2f}x its baseline {base:.3g} s"
                    )
                    found.append((at, event(step, "slowdown", level, message, value=now, expected=base)))
        return found

    def resumed(self) -> None:
        self.pace.resumed()

    def levels(self) -> dict[str, float | None]:
        return {"step_time_baseline": self.pace.base, "step_time_recent": self.pace.now()}
