"""Finds losses far above their recent level."""

from __future__ import annotations

import math
from collections.abc import Sequence

from training_monitor.detect.base import Detector, Found, Scores, event, own_loss
from training_monitor.detect.thresholds import Thresholds
from training_monitor.records import Event, Step


class LossSpike(Detector):
    """A loss at 2x its level at once (critical), at 1.5x for two points (warning), or beyond what the noise explains.

    Notice: one point 6 sigma up. Warning: two such points on a run without odd single points, or a CUSUM whose input is
    capped, so that no single point can fire it. Critical: 2x at once, 1.5x held for three points, 1.2x for ten.
    """

    __slots__ = ("critical", "cusum", "held_12", "held_15", "odd_points", "warning", "z1", "z2")
    constants = ("critical", "warning")

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__(loss_spike=5)
        self.warning = math.log(thresholds.loss_spike.warning)
        self.critical = math.log(thresholds.loss_spike.critical)
        self.cusum = self.z1 = self.z2 = self.odd_points = 0.0
        self.held_15 = self.held_12 = 0

    def update(self, steps: Sequence[Step], scores: Scores) -> list[Found]:
        found: list[Found] = []
        condition = self.conditions["loss_spike"]
        for at, y, base, _, z in zip(*scores, strict=True):
            level = max(self._noise(z), self._ratio(y - base, z))
            if condition.rises(level):
                found.append((at, self._event(steps[at], level, math.exp(base))))
        return found

    def _noise(self, z: float) -> int:
        """The level of z alone."""
        level = 1 if z > 6 else 0
        if self.odd_points < 2.5 and ((z > 5 and self.z1 > 5) or (z > 2.5 and self.z1 > 6)):
            level = 2
        self.cusum = min(max(0.0, self.cusum + min(z, 4.0) - 1.5), 21.0)  # bounded: a long spike must end some time
        self.odd_points *= 0.9995
        if self.z1 > 5 and self.z2 < 2.5 and z < 2.5:
            self.odd_points += 1
        self.z2, self.z1 = self.z1, z
        return 2 if self.cusum > 7 else level

    def _ratio(self, rise: float, z: float) -> int:
        """The level of the loss over its level, as the threshold table has it."""
        self.held_15 = self.held_15 + 1 if rise > self.warning else 0
        self.held_12 = self.held_12 + 1 if rise > 0.18 else 0
        if rise >= self.critical or (z > 4 and (self.held_15 >= 3 or self.held_12 >= 10)):
            return 3
        return 2 if self.held_15 >= 2 else 0

    def _event(self, step: Step, level: int, expected: float) -> Event:
        loss = own_loss(step) or 0.0
        message = f"loss {loss:.4g} at step {step.step} is {loss / expected:.2f}x its recent level {expected:.4g}"
        return event(step, "loss_spike", level, message, value=loss, expected=expected)
