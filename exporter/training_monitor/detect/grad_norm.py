"""Finds gradient norms far above their recent level."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from training_monitor.detect.base import Detector, Found, Scores, event
from training_monitor.detect.thresholds import Thresholds
from training_monitor.detect.windows import median
from training_monitor.records import Step

WARM_UP = 24  # norms before any is judged
EVERY = 8  # norms between two looks at the level
LOSS_RISE = 3.0  # z of a loss that says the same


class GradNorm(Detector):
    """A gradient norm at 5x or 10x the median of the last 64.

    One step alone at 5x is a notice and at 10x a warning: single hard batches do that to healthy runs, and clipping is
    made for them. Each is one severity higher when the step before was above 5x too; 10x is critical when the loss
    rises beyond 3 sigma at the same step. Norms above 5x do not teach the level, for at most 64 in a row. Skipped fp16
    steps log an infinite norm: that is the loss scaler at work, no anomaly, and teaches nothing.
    """

    __slots__ = ("base", "held", "limits", "n", "window")
    constants = ("limits",)

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__(grad_norm_spike=5)
        self.limits = thresholds.grad_norm_spike
        self.window: deque[float] = deque(maxlen=64)
        self.base = math.inf  # median of the window, as of the last few norms
        self.n = 0
        self.held = 0  # norms in a row above the first limit

    def update(self, steps: Sequence[Step], scores: Scores) -> list[Found]:
        found: list[Found] = []
        condition = self.conditions["grad_norm_spike"]
        window = self.window
        warning, critical = self.limits.warning, self.limits.critical
        z: dict[int, float] | None = None
        for at, step in enumerate(steps):
            norm = step.grad_norm
            if norm is None or not 0 < norm < math.inf:
                continue
            level = 0
            if norm >= warning * self.base:
                if z is None:
                    z = dict(zip(scores.at, scores.z, strict=True))
                self.held += 1
                level = 1 if norm < critical * self.base else 3 if z.get(at, 0.0) > LOSS_RISE else 2
                level = min(3, level + (self.held > 1))
            elif self.held:
                self.held = 0
            if (level or condition.level) and condition.rises(level):
                message = (
                    f"gradient norm {norm:.3g} at step {step.step} is {norm / self.base:.1f}x "
                    f"its recent level {self.base:.3g}"
                )
                found.append((at, event(step, "grad_norm_spike", level, message, value=norm, expected=self.base)))
            if not level or self.held > 64:
                window.append(norm)
                self.n += 1
                if self.n % EVERY == 0 and self.n >= WARM_UP:
                    self.base = median(sorted(window))
        return found

    def levels(self) -> dict[str, float | None]:
        return {"grad_norm_baseline": self.base if self.base < math.inf else None}
