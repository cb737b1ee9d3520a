"""Finds steps that take longer than they did, and MFU that has dropped."""

from __future__ import annotations

import math
from collections.abc import Sequence

from training_monitor.detect.base import Detector, Found, Scores, event
from training_monitor.detect.pace import Pace
from training_monitor.detect.thresholds import Thresholds
from training_monitor.records import Step


class StepTime(Detector):
    """Step time as a running median: 1.5x its baseline is a warning, 2x critical; from +5 % on a notice."""

    __slots__ = ("critical", "pace", "warning")
    constants = ("critical", "warning")

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__(slowdown=20)
        self.pace = Pace()
        self.warning = thresholds.slowdown.warning * 0.97  # the running median reaches a held ratio only nearly
        self.critical = thresholds.slowdown.critical * 0.975

    def update(self, steps: Sequence[Step], scores: Scores) -> list[Found]:
        found: list[Found] = []
        condition = self.conditions["slowdown"]
        for at, step in enumerate(steps):
            seconds = step.step_time_s
            if seconds is None or not 0 < seconds < math.inf:
                continue
            ratios = self.pace.push(seconds)
            if ratios is None:
                continue
            m9, _, m51, sigma = ratios
            level = 1 if m51 > max(1.045, 1 + 1.08 * sigma) and step.mfu_ratio is None else 0
            if m9 > max(self.warning, 1 + 4.48 * sigma):
                level = 3 if m9 > self.critical else 2
            if condition.rises(level):
                now, base = (m51 if level == 1 else m9), self.pace.base or 0.0
                message = f"step time {now * base:.3g} s at step {step.step} is {now:.2f}x its baseline {base:.3g} s"
                found.append((at, event(step, "slowdown", level, message, value=now * base, expected=base)))
        return found

    def resumed(self) -> None:
        self.pace.resumed()

    def levels(self) -> dict[str, float | None]:
        return {"step_time_baseline": self.pace.base, "step_time_recent": self.pace.recent()}


class MfuDrop(Detector):
    """MFU as a running median: −15 % is a warning, −30 % critical; from −5 % on a notice."""

    __slots__ = ("critical", "pace", "warning")
    constants = ("critical", "warning")

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__(mfu_drop=20)
        self.pace = Pace()  # of 1 / MFU
        self.warning = 1 / (1 - thresholds.mfu_drop.warning) - 0.026
        self.critical = 1 / (1 - thresholds.mfu_drop.critical) - 0.03

    def update(self, steps: Sequence[Step], scores: Scores) -> list[Found]:
        found: list[Found] = []
        condition = self.conditions["mfu_drop"]
        for at, step in enumerate(steps):
            mfu = step.mfu_ratio
            if mfu is None or not 0 < mfu < math.inf:
                continue
            ratios = self.pace.push(1 / mfu)
            if ratios is None:
                continue
            _, m11, m51, sigma = ratios
            level = 1 if m51 > max(1.045, 1 + 1.08 * sigma) else 0
            if m11 > max(self.warning, 1 + 2.66 * sigma):
                level = 3 if m11 > self.critical else 2
            if condition.rises(level):
                slow, base = (m51 if level == 1 else m11), 1 / (self.pace.base or 1.0)
                now = base / slow
                message = f"MFU {now:.1%} at step {step.step} is {1 - 1 / slow:.0%} below its baseline {base:.1%}"
                found.append((at, event(step, "mfu_drop", level, message, value=now, expected=base)))
        return found

    def resumed(self) -> None:
        self.pace.resumed()

    def levels(self) -> dict[str, float | None]:
        base, recent = self.pace.base, self.pace.recent()
        return {"mfu_baseline": base and 1 / base, "mfu_recent": recent and 1 / recent}
