"""Finds steps that take longer than they did."""

from __future__ import annotations

import math
from collections.abc import Sequence

from training_monitor.detect.base import Detector, Found, Scores, event, positive
from training_monitor.detect.pace import Pace
from training_monitor.detect.thresholds import Thresholds
from training_monitor.detect.work import Hardware, Work
from training_monitor.records import Event, Facts, Step, Steps

NEWS = 1.05  # ratio of a new baseline to the old one that is told


class StepTime(Detector):
    """Step time as a running median of 11: 1.5x its baseline is a warning, 2x critical; from 1.035x on a notice.

    Where the log has an MFU, the small excesses are the business of `MfuDrop`. A step that takes longer because it does
    more (batch size, sequence length) moves the baseline, with one notice, where the log has an exact rate beside the
    step time; so does other hardware after a resume.
    """

    __slots__ = ("before", "hardware", "pace", "work")

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__(slowdown=20)
        self.pace = Pace(thresholds.slowdown.warning, thresholds.slowdown.critical, sigmas=4.5)
        self.work = Work()
        self.hardware = Hardware()
        self.before = 0.0  # baseline on other hardware, seconds

    def learn(self, facts: Facts) -> None:
        if self.hardware.changes(facts) and self.pace.base is not None:
            self.before = self.pace.base
            self.pace.forget()
            self.work = Work()

    def update(self, steps: Steps, scores: Scores) -> list[Found]:
        at, seconds = positive(steps.step_time_s)
        rates = steps.tokens_per_second if len(at) == len(steps) else [steps.tokens_per_second[i] for i in at]
        if self.work.is_usual(seconds, rates):
            return self._scan(steps, at, seconds)
        found: list[Found] = []
        for i, x, rate in zip(at, seconds, rates, strict=True):
            factor = self.work.push(x, rate) if rate else 1.0
            if factor == 1.0:
                found += self._scan(steps, [i], [x])
            else:
                found += [(i, e) for e in self._work_changed(steps[i], factor)]
        return found

    def _scan(self, steps: Steps, at: Sequence[int], seconds: Sequence[float]) -> list[Found]:
        found: list[Found] = []
        condition = self.conditions["slowdown"]
        for i, level in self.pace.scan(seconds):
            told = 0 if level == 1 and steps.mfu_ratio[at[i]] is not None else level
            if (told or condition.level) and condition.rises(told):
                found.append((at[i], self._event(steps[at[i]], told)))
            elif self.before and self.pace.base:
                found += [(at[i], e) for e in self._hardware_changed(steps[at[i]], self.pace.base)]
        return found

    def _event(self, step: Step, level: int) -> Event:
        now, base = self.pace.now() or 0.0, self.pace.base or math.inf
        message = f"step time {now:.3g} s at step {step.step} is {now / base:.2f}x its baseline {base:.3g} s"
        return event(step, "slowdown", level, message, value=now, expected=base)

    def _work_changed(self, step: Step, factor: float) -> list[Event]:
        """Nothing while it is not sure; the notice when steps have become longer."""
        base = self.pace.base
        if not factor or base is None:
            return []
        self.pace.scale(factor)
        if factor < NEWS:
            return []
        after = base * factor
        message = f"a step does {factor:.2f}x the work from step {step.step} on: baseline {base:.3g} s to {after:.3g} s"
        return [event(step, "slowdown", 1, message, value=after, expected=base)]

    def _hardware_changed(self, step: Step, base: float) -> list[Event]:
        before, self.before = self.before, 0.0
        if base < NEWS * before:
            return []
        message = f"a step takes {base:.3g} s on this hardware, {base / before:.2f}x as long as before ({before:.3g} s)"
        return [event(step, "slowdown", 1, message, value=base, expected=before)]

    def resumed(self) -> None:
        self.pace.resumed()

    def levels(self) -> dict[str, float | None]:
        return {"step_time_baseline": self.pace.base, "step_time_recent": self.pace.now()}
