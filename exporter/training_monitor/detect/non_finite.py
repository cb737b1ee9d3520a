"""Finds losses that are no numbers, and losses that a trainer replaced by 0 because they were none."""

from __future__ import annotations

import math

from training_monitor.detect.base import Detector, Found, Scores, event
from training_monitor.detect.thresholds import Thresholds
from training_monitor.records import Step, Steps


class NonFinite(Detector):
    """NaN or infinite loss, at the same step; a loss of exactly 0 beside a NaN gradient norm; a collapse to exactly 0.

    Hugging Face's `logging_nan_inf_filter` shows a non-finite loss as 0. Three zeros in a row after a loss above 0.05
    are such a collapse too. No false alarms are known.
    """

    __slots__ = ("before", "zeros")

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__(non_finite_loss=20)
        self.zeros = 0
        self.before = 0.0  # last loss above zero

    def update(self, steps: Steps, scores: Scores) -> list[Found]:
        condition = self.conditions["non_finite_loss"]
        if len(scores.at) == len(steps) and not condition.level and not self.zeros:
            self.before = steps.loss[-1] or self.before if steps else self.before
            return []  # all finite and above zero
        found: list[Found] = []
        for at, step in enumerate(steps):
            what = self._what(step)
            if condition.rises(3 if what else 0):
                found.append((at, event(step, "non_finite_loss", 3, f"{what} at step {step.step}", value=step.loss)))
        return found

    def _what(self, step: Step) -> str | None:
        loss, norm = step.loss, step.grad_norm
        if loss is None:
            return None
        if not math.isfinite(loss):
            return f"loss is {loss}"
        if loss != 0:
            self.zeros, self.before = 0, max(loss, 0.0)
            return None
        self.zeros += 1
        if norm is not None and not math.isfinite(norm):
            return f"loss is exactly 0 with a gradient norm of {norm}: a non-finite loss was filtered"
        if self.zeros >= 3 and self.before > 0.05:
            return f"loss has fallen from {self.before:.4g} to exactly 0"
        return None

    def resumed(self) -> None:
        self.zeros = 0
