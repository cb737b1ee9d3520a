"""Finds a drop of the model FLOPs utilisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from training_monitor.detect.base import Detector, Found, Scores, event
from training_monitor.detect.pace import Pace
from training_monitor.detect.thresholds import Thresholds
from training_monitor.records import Step


class MfuDrop(Detector):
    """MFU as a running median of 11: 15 % below its baseline is a warning, 30 % critical; from 4 % on a notice."""

    __slots__ = ("pace",)

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__(mfu_drop=20)
        drop = thresholds.mfu_drop
        self.pace = Pace(1 / (1 - drop.warning), 1 / (1 - drop.critical), sigmas=2.7)  # of 1 / MFU

    def update(self, steps: Sequence[Step], scores: Scores) -> list[Found]:
        found: list[Found] = []
        condition = self.conditions["mfu_drop"]
        push = self.pace.push
        for at, step in enumerate(steps):
            mfu = step.mfu_ratio
            if mfu is None or not 0 < mfu < math.inf:
                continue
            level = push(1 / mfu)
            if (level or condition.level) and condition.rises(level):
                slow, base = self.pace.now(41 if level == 1 else 11), self.pace.base
                if slow and base:
                    drop = 1 - base / slow
                    message = f"MFU {1 / slow:.1%} at step {step.step} is {drop:.0%} below its baseline {1 / base:.1%}"
                    found.append((at, event(step, "mfu_drop", level, message, value=1 / slow, expected=1 / base)))
        return found

    def resumed(self) -> None:
        self.pace.resumed()

    def levels(self) -> dict[str, float | None]:
        base, now = self.pace.base, self.pace.now()
        return {"mfu_baseline": base and 1 / base, "mfu_recent": now and 1 / now}
