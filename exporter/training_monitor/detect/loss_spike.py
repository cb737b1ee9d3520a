"""Finds losses far above their recent level."""

from __future__ import annotations

import math

from training_monitor.detect.base import Detector, Found, Scores, Stretch, event, own_loss
from training_monitor.detect.thresholds import Thresholds
from training_monitor.records import Event, Step, Steps

DELTA = 3.5  # standard deviations: the shift that the evidence is counted for
HALF = DELTA * DELTA / 2
QUIET = HALF / DELTA  # z up to which a point is no evidence
PAGE = 13.5  # evidence for a warning, nats
NOTICE = 9.0  # evidence for a notice, nats
FULL = 30.0  # evidence is not counted beyond, nats: a long spike must end some time
MOST = 8.0  # evidence that one point can give, nats: two are needed
SHORT_RISE, LONG_RISE, LONG = 0.06, 0.03, 12  # mean log rise that is worth a warning, below and from 12 points on
LASTING = 10  # points at the warning ratio that are as bad as one at the critical ratio
NEARLY = 0.1  # log: three points whose mean is so near to the critical ratio have reached it
DECAY_FROM, DECAY_TO, DECAY_RISE = 12.0, 2.5, 0.18  # z and log rise of a point, z of the next: a spike that decays
ODD = 4.0  # z of an odd point
PRIOR_ODD, PRIOR_POINTS, MEMORY = 0.75, 250, 4000  # before the first point: 0.75 odd points in 250
CLEAN_RATE = 0.005  # rate of odd points below which one point of …
CLEAN_Z, ODD_Z = 4.8, 6.0  # … the first z is a notice, else of the second
SMOOTHED = 2.0  # memory of a log from which one odd point looks like a long rise: no page below the ratios
RARE = 3e-4  # rate of odd points that any run may have


class LossSpike(Detector):
    """A loss at 2x its level at once (critical), at 1.5x for two points (warning), or beyond what the noise explains.

    Below the ratios evidence is counted as in a CUSUM: the log likelihood ratio of a shift by 3.5 sigma against none.
    What one point can give is limited by the run's own rate of odd single points, so that pages need two points
    in a row on a clean batch-averaged loss and three or four on the loss of one rank. One odd point is a notice.

    Measured: all rises by 1.24x for five points on batch-averaged losses, at the second; 97 % on the
    loss of one rank; one page in 213,000 healthy points. Slow at rises below 6 %: they must last for 12 points.
    """

    __slots__ = (
        "evidence", "held", "held_rise", "last_rise", "limits", "odd", "points", "rise", "seen", "since", "z1", "z2",
    )  # fmt: skip
    constants = ("limits",)

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__(loss_spike=5)
        self.limits = math.log(thresholds.loss_spike.warning), math.log(thresholds.loss_spike.critical)
        self.evidence = 0.0  # nats
        self.points = 0  # since the evidence was zero
        self.rise = 0.0  # sum over those points
        self.held = 0  # points in a row above the warning ratio
        self.held_rise = 0.0  # sum over those points
        self.odd, self.seen = PRIOR_ODD, PRIOR_POINTS  # odd single points, and all
        self.z1 = self.z2 = self.last_rise = 0.0
        self.since = 0  # step at which the open spike began

    def update(self, steps: Steps, scores: Scores) -> list[Found]:
        found: list[Found] = []
        low = 0.999 * self.limits[0]  # log rise
        for stretch in scores.stretches:
            z = scores.z[stretch.start : stretch.end]
            if stretch.highest <= QUIET and stretch.highest * stretch.sigma < low and not self._is_busy():
                self.seen += len(z)
                self.z2, self.z1 = ([self.z1, *z])[-2:]
            else:
                found += self._judge(stretch, z, steps, scores)
        return found

    def _is_busy(self) -> bool:
        """Whether the next point counts, however low it is."""
        return self.evidence > 0 or self.held > 0 or self.z1 > ODD or self.conditions["loss_spike"].level > 0

    def _judge(self, stretch: Stretch, z: list[float], steps: Steps, scores: Scores) -> list[Found]:
        """The events of a stretch that has a high point or comes after one."""
        found: list[Found] = []
        condition, base, limit = self.conditions["loss_spike"], stretch.level, self.limits[0]
        is_busy, z1, z2 = self._is_busy(), self.z1, self.z2
        part = slice(stretch.start, stretch.end)
        for i, y, point in zip(scores.at[part], scores.y[part], z, strict=True):
            self.seen += 1
            if is_busy or point > QUIET or y - base > limit:
                self.z1, self.z2 = z1, z2
                level = self._level(point, y - base, stretch.memory)
                if not condition.level:
                    self.since = steps.step[i]
                if (level or condition.level) and condition.rises(level):
                    found.append((i, self._event(steps[i], level, math.exp(base))))
                self.z1 = point
                is_busy = self._is_busy()
            z2, z1 = z1, point
        self.z1, self.z2 = z1, z2
        return found

    def _level(self, z: float, rise: float, memory: float) -> int:
        """The level of a point."""
        level = self._evidence(z, z / memory, rise)
        if memory > SMOOTHED:
            level = min(level, 1)
        return max(level, self._ratio(rise))

    def _evidence(self, z: float, whitened: float, rise: float) -> int:
        """The level of z; takes the evidence of a point."""
        if self.seen >= MEMORY:
            self.odd, self.seen = self.odd / 2, self.seen // 2
        rate = max(RARE, self.odd / self.seen)
        level = 1 if z > (CLEAN_Z if rate < CLEAN_RATE else ODD_Z) else 0
        self.evidence += min(DELTA * whitened - HALF, MOST, -math.log(rate))
        if self.evidence <= 0:
            self.evidence = self.rise = 0.0
            self.points = 0
        else:
            self.evidence = min(self.evidence, FULL)
            self.points += 1
            self.rise += rise
            if self.evidence > NOTICE and self.points > 1:
                enough = SHORT_RISE if self.points < LONG else LONG_RISE
                level = 2 if self.evidence > PAGE and self.rise > self.points * enough else 1
        if self.z1 > DECAY_FROM and z > DECAY_TO and rate < CLEAN_RATE and self.last_rise > DECAY_RISE:
            level = 2
        if self.z1 > ODD and self.z2 < DECAY_TO and z < DECAY_TO:
            self.odd += 1
        self.last_rise = rise
        return level

    def _ratio(self, rise: float) -> int:
        """The level of the loss over its level, as the threshold table has it."""
        warning, critical = self.limits
        if rise <= warning:
            self.held, self.held_rise = 0, 0.0
            return 0
        self.held += 1
        self.held_rise += rise
        nearly = self.held >= 3 and self.held_rise > self.held * (critical - NEARLY)
        if rise >= critical or nearly or self.held >= LASTING:
            return 3
        return 2 if self.held >= 2 else 0

    def levels(self) -> dict[str, float | None]:
        return {"loss_spike_since": self.since if self.conditions["loss_spike"].level else None}

    def _event(self, step: Step, level: int, expected: float) -> Event:
        loss = own_loss(step) or 0.0
        message = f"loss {loss:.4g} at step {step.step} is {loss / expected:.2f}x its recent level {expected:.4g}"
        return event(step, "loss_spike", level, message, value=loss, expected=expected)
