"""Finds a loss that has stopped to improve."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from typing import Any

from training_monitor.detect.base import Detector, Found, Scores, event
from training_monitor.detect.loss_level import TEN
from training_monitor.detect.thresholds import Thresholds
from training_monitor.detect.windows import roughness
from training_monitor.records import Event, Step, Steps

MOST = 256  # blocks kept: then neighbours are merged
SPIKY = 4  # clipped points that make a ten useless
EVERY = 50  # points between two looks
WINDOWS = (10, 12, 15, 18, 22, 27, 33, 40, 48, 58, 70, 85, 100, 120)  # blocks
REFERENCE = 15  # blocks that the stretch before must have at least
EARLIEST = 0.3  # part of the run before the window that is too old to compare with
SHORT = 0.3  # part of its earlier slope that is too little …
HALF_SHORT = 0.5  # the same for each half of the window: a step in the loss is no plateau
ERRORS = 4.5  # … by so many standard errors …
MISSING = 0.015  # … and so much of log loss
ROUGH = (1, 2)  # blocks: scales at which the noise is compared with white noise
SPANS = (2, 4, 8)  # blocks on each side of a step in the loss
STEP, STEP_ERRORS = 0.0045, 5.0  # log loss and standard errors that make a rise a step
HELD = 4  # looks in a row that make it certain, until the loss improves
SOONEST = 500  # steps without an improvement after which the trend is looked at
LOW_RATE = 0.2  # part of the highest learning rate below which little can be improved


class Plateau(Detector):
    """No improvement by 1 % for 500 steps (warning) or 1000 (critical), where the run's own trend promised one.

    The slope of the log loss over the log of the step, over windows of the last blocks, falls short of the slope of the
    stretch before. Healthy late training slows down as its trend says and is silent. A drop of the learning rate starts
    a new stretch; below 20 % of the highest rate nothing is expected.

    Measured: 95 % of trends that stop, 400 to 800 points later; no page in 432,000 healthy points, of which the rule of
    1 % in 500 steps alone has half in alarm. Slow on noisy losses.
    """

    __slots__ = (
        "best", "best_step", "block", "held", "improvement", "limits", "losses", "lr", "lr_max", "origin", "promised",
        "recent", "size", "step", "steps", "sums",
    )  # fmt: skip
    constants = ("improvement", "limits", "sums")

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__(plateau=1)  # an improvement ends it
        self.limits = thresholds.plateau
        self.improvement = math.log1p(-thresholds.plateau_improvement)
        self.recent: deque[float] = deque(maxlen=EVERY // TEN)  # means of the last tens
        self.block: list[float] = []  # means of the tens of the unfinished block
        self.size = 1  # tens in a block
        self.losses: list[float] = []  # mean log loss of each block
        self.steps: list[int] = []  # last step of each block
        self.sums = [(0.0, 0.0, 0.0, 0.0)]  # of x, y, xx and xy over the blocks, x being the log of the step
        self.origin = 0  # step from which the learning rate has been smooth
        self.promised = math.inf  # log loss below which the drop of the learning rate had its effect
        self.lr = self.lr_max = 0.0
        self.best = math.inf  # mean log loss at the last improvement
        self.best_step: int | None = None
        self.step = 0
        self.held = 0  # looks in a row that found too little

    def update(self, steps: Steps, scores: Scores) -> list[Found]:
        found: list[Found] = []
        if steps and steps.step[0] < self.step:
            self._rewind(steps.step[0])
        rates = steps.rates
        for at, mean, clipped, sigma in scores.tens:
            if clipped >= SPIKY or sigma == math.inf:
                continue
            self._follow_rate(steps.step[at], rates[at])
            level = self._take(mean, steps.step[at], sigma)
            if level is not None and self.conditions["plateau"].rises(level):
                found.append((at, self._event(steps[at], level)))
        if steps:
            self.step = steps.step[-1]
        return found

    def _take(self, mean: float, step: int, sigma: float) -> int | None:
        """Takes the mean of ten points; each fifth time the level."""
        self.recent.append(mean)
        self.block.append(mean)
        if len(self.block) == self.size:
            self._add(sum(self.block) / self.size, step)
            self.block = []
            if len(self.losses) == MOST:
                self._merge()
        if len(self.recent) < EVERY // TEN:
            return None
        smooth = sum(self.recent) / len(self.recent)
        self.recent.clear()
        if smooth < self.best + self.improvement:
            self.best, self.best_step = smooth, step
        since = step - (self.best_step or 0)
        if since < min(self.limits.warning, SOONEST):
            self.held = 0
        elif self.held < HELD:
            self.held = self.held + 1 if self._is_short(sigma / math.sqrt(TEN * self.size)) else 0
        if self.held < HELD or since < self.limits.warning:
            return 0
        return 3 if since >= self.limits.critical else 2

    def _add(self, loss: float, step: int) -> None:
        self.losses.append(loss)
        self.steps.append(step)
        x, s = math.log(max(step, 1)), self.sums[-1]
        self.sums.append((s[0] + x, s[1] + loss, s[2] + x * x, s[3] + x * loss))

    def _rebuild(self, losses: list[float], steps: list[int]) -> None:
        self.losses, self.steps, self.sums = [], [], self.sums[:1]
        for loss, step in zip(losses, steps, strict=True):
            self._add(loss, step)

    def _merge(self) -> None:
        """Makes one block of each two: state stays bounded, and a longer run needs no finer view."""
        pairs = zip(self.losses[::2], self.losses[1::2], strict=True)
        self._rebuild([(a + b) / 2 for a, b in pairs], self.steps[1::2])
        self.size *= 2

    def _rewind(self, step: int) -> None:
        """Forgets what stood at `step` and after: it is told again."""
        keep = bisect_left(self.steps, step)
        self._rebuild(self.losses[:keep], self.steps[:keep])
        self.block = []
        self.recent.clear()
        if self.best_step is not None:
            self.best_step = min(self.best_step, step)

    def _follow_rate(self, step: int, rate: float | None) -> None:
        if rate is None:
            return
        if rate < 0.85 * self.lr:
            self.origin, self.promised = step, (self.losses or [math.inf])[-1] + self.improvement
        elif rate > 1.1 * self.lr and self.lr < 0.7 * self.lr_max:
            self.origin, self.promised = step, math.inf
        self.lr, self.lr_max = rate, max(rate, self.lr_max)

    def _is_short(self, sigma: float) -> bool:
        """Whether the slope over one of the windows falls short; `sigma`: noise of a block."""
        if self.lr < LOW_RATE * self.lr_max:
            return False
        n = len(self.losses)
        smooth = bisect_left(self.steps, self.origin) if self.losses and self.losses[-1] < self.promised else 0
        for window in WINDOWS:
            edge = n - window
            start = max(smooth, bisect_left(self.steps, EARLIEST * self.steps[edge])) if edge > 0 else n
            if edge - start < max(window, REFERENCE):
                return False
            now, spread = self._slope(edge, n)
            late, late_spread = self._slope((start + edge) // 2, edge)
            earlier = min(0.0, max(self._slope(start, edge)[0], late))
            chance = ERRORS * sigma * math.sqrt(1 / spread + 1 / late_spread)
            missing = (now - earlier) * (math.log(self.steps[-1]) - math.log(self.steps[edge - 1]))
            if now > SHORT * earlier and now - earlier > chance and missing > MISSING:
                middle = n - window // 2
                halves = min(self._slope(edge, middle)[0], self._slope(middle, n)[0])
                if halves > HALF_SHORT * earlier:
                    stretch = self.losses[start:]
                    return now - earlier > chance * roughness(stretch, sigma, ROUGH) and not _has_risen(stretch, sigma)
        return False

    def _slope(self, a: int, b: int) -> tuple[float, float]:
        """Slope over the blocks from a to b, and the spread of x."""
        p, q, n = self.sums[a], self.sums[b], b - a
        x, y = q[0] - p[0], q[1] - p[1]
        spread = q[2] - p[2] - x * x / n
        return (q[3] - p[3] - x * y / n) / spread, spread

    def _event(self, step: Step, level: int) -> Event:
        since = step.step - (self.best_step or 0)
        loss, best = math.exp(self.losses[-1]), math.exp(self.best)
        message = (
            f"loss {loss:.4g} at step {step.step} has not improved by {-math.expm1(self.improvement):.0%} "
            f"for {since} steps, less than its own trend promised"
        )
        return event(step, "plateau", level, message, value=loss, expected=best)

    def levels(self) -> dict[str, float | None]:
        return {"steps_since_improvement": None if self.best_step is None else max(0, self.step - self.best_step)}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._rebuild(self.losses, self.steps)


def _has_risen(losses: list[float], sigma: float) -> bool:
    """Whether the loss has stepped up: other data, not comparable with what its trend promised before."""
    for span in SPANS:
        sums = [sum(losses[i : i + span]) for i in range(len(losses) - span + 1)]
        rise = max((b - a for a, b in zip(sums, sums[span:], strict=False)), default=0.0) / span
        if rise > max(STEP, STEP_ERRORS * sigma * math.sqrt(2 / span)):
            return True
    return False
