"""Finds gradient norms far above their recent level."""

from __future__ import annotations

import math
from collections.abc import Sequence

from training_monitor.detect.base import Detector, Found, Scores, event
from training_monitor.detect.thresholds import Thresholds
from training_monitor.detect.windows import SortedWindow
from training_monitor.records import Step

WARM_UP = 20


class GradNorm(Detector):
    """A gradient norm at 5x the median of the last 64 is a warning, at 10x critical.

    Skipped fp16 steps log an infinite norm: that is the loss scaler at work, no anomaly, and teaches nothing.
    """

    __slots__ = ("limits", "window")
    constants = ("limits",)

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__(grad_norm_spike=5)
        self.limits = thresholds.grad_norm_spike
        self.window = SortedWindow(64)

    def update(self, steps: Sequence[Step], scores: Scores) -> list[Found]:
        found: list[Found] = []
        condition = self.conditions["grad_norm_spike"]
        for at, step in enumerate(steps):
            norm = step.grad_norm
            if norm is None or not 0 < norm < math.inf:
                continue
            base = self.window.median() if len(self.window.values) >= WARM_UP else norm
            ratio = norm / base
            level = 3 if ratio >= self.limits.critical else 2 if ratio >= self.limits.warning else 0
            if condition.rises(level):
                message = f"gradient norm {norm:.3g} at step {step.step} is {ratio:.1f}x its recent level {base:.3g}"
                found.append((at, event(step, "grad_norm_spike", level, message, value=norm, expected=base)))
            self.window.push(norm)
        return found

    def levels(self) -> dict[str, float | None]:
        return {"grad_norm_baseline": self.window.median() if len(self.window.values) >= WARM_UP else None}
