"""Finds a drop of the model FLOPs utilisation."""

from __future__ import annotations

import math

from training_monitor.detect.base import Detector, Found, Scores, event, positive
from training_monitor.detect.pace import Pace
from training_monitor.detect.thresholds import Thresholds
from training_monitor.detect.work import Hardware
from training_monitor.records import Column, Event, Facts, Step, Steps


class MfuDrop(Detector):
    """MFU as a running median of 11: 15 % below its baseline is a warning, 30 % critical; from 3.5 % on a notice.

    Without an MFU the FLOP/s of a device stand for it: on the same hardware they are proportional.
    """

    __slots__ = ("hardware", "in_tflops", "pace")

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__(mfu_drop=20)
        drop = thresholds.mfu_drop
        self.pace = Pace(1 / (1 - drop.warning), 1 / (1 - drop.critical), sigmas=2.7)  # of 1 / MFU
        self.in_tflops = True  # until an MFU is seen
        self.hardware = Hardware()

    def learn(self, facts: Facts) -> None:
        if self.hardware.changes(facts):
            self.pace.forget()

    def update(self, steps: Steps, scores: Scores) -> list[Found]:
        if not self.in_tflops:
            return self._scan(steps, steps.mfu_ratio)
        first = next((i for i, mfu in enumerate(steps.mfu_ratio) if mfu is not None), None)
        found = self._scan(steps, steps.tflops[:first])
        if first is not None:  # from here on there is an MFU
            self.in_tflops = False
            self.pace.forget()
            found += self._scan(steps, [None] * first + list(steps.mfu_ratio[first:]))
        return found

    def _scan(self, steps: Steps, work: Column) -> list[Found]:
        """`work`: what is done in a second, MFU or TFLOP/s."""
        found: list[Found] = []
        condition = self.conditions["mfu_drop"]
        at, rates = positive(work)
        for i, level in self.pace.scan([1.0 / rate for rate in rates]):
            if (level or condition.level) and condition.rises(level):
                found.append((at[i], self._event(steps[at[i]], level)))
        return found

    def _event(self, step: Step, level: int) -> Event:
        now, base = 1 / (self.pace.now() or math.inf), 1 / (self.pace.base or math.inf)
        what = f"{now:.4g} TFLOP/s" if self.in_tflops else f"MFU {now:.1%}"
        usual = f"{base:.4g} TFLOP/s" if self.in_tflops else f"{base:.1%}"
        message = f"{what} at step {step.step} is {1 - now / base:.0%} below its baseline {usual}"
        return event(step, "mfu_drop", level, message, value=now, expected=base)

    def resumed(self) -> None:
        self.pace.resumed()

    def levels(self) -> dict[str, float | None]:
        if self.in_tflops:
            return {}
        base, now = self.pace.base, self.pace.now()
        return {"mfu_baseline": base and 1 / base, "mfu_recent": now and 1 / now}
