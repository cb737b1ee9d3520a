"""The recent level and noise of the loss: what the loss detectors compare with."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from operator import sub

from training_monitor.detect.base import Scores, Stretch, Ten, positive
from training_monitor.detect.windows import median
from training_monitor.records import Steps
from training_monitor.state import Stateful

WARM_UP = 40  # points before z is given
FIRST = 2  # points before a level is given
REFILL = 8  # points that make a level again after a restart
ALLOWANCE = math.log(1.1)  # until then the loss may be that much higher than before
LAG = 200  # points from which the lag behind a falling trend is fully trusted
YOUNG = 1000  # points until which level and noise are looked at twice as often
LOOK = 5  # points between two looks at the level of a young run; later it is ten
SETTLED = 4000  # points from which the level is looked at half as often again
MEASURE = 120  # points between two measurements of the noise; in a young run 30, and 10 before it is trusted
IQR = 1.349 * math.sqrt(2)  # quartile range of the difference of two Gaussian values, in standard deviations
SIGMA_FLOOR = 1e-3  # a loss printed with few digits may look free of noise
SUSPICIOUS = 4.0  # z above which a point does not teach the level …
PATIENCE = 200  # … for at most so many points: then the loss is taken to live there now
FEW, PART = 5, 0.02  # losses at or below zero, over the scored ones, from which a ratio of losses means nothing
TEN = 10  # points in the means for the slower detectors
CLIP = 2.5  # z beyond which a point counts as that in a mean


class LossLevel(Stateful):
    """Scores each loss against the median of the last 32 unsuspicious ones, in log loss.

    The median is corrected for its lag on a falling trend. The noise is the quartile range of differences over five
    points, which no trend inflates. Losses at or below zero are not scored; where they are many (the losses of policy
    gradients swing around zero), no loss is. After a restart the level is learned anew
    from eight points, the noise stays.
    """

    __slots__ = (
        "base", "clipped", "diffs", "group", "lag", "level", "looked", "memory", "middle", "n", "noise", "refused",
        "same", "same_sign", "sigma", "suspicious", "tail", "ten", "z",
    )  # fmt: skip

    def __init__(self) -> None:
        self.n = 0
        self.refused = 0  # losses at or below zero
        self.base: deque[float] = deque(maxlen=32)
        self.tail: list[float] = []  # the last 5 of `base`
        self.middle = 0.0  # median of `base` at the last look
        self.lag = 0.0  # usual distance of a point from `middle`: below zero on a falling trend
        self.level = 0.0  # of the next points
        self.group: list[float] = []  # points accepted since the last look
        self.suspicious = 0
        self.diffs: deque[float] = deque(maxlen=192)
        self.noise = 0.0
        self.sigma = 1.0  # the noise of the next points
        self.z = 0.0  # of the last point
        self.same = self.looked = 0  # points whose z had the sign of the one before; points at the last look
        self.same_sign = 0.5  # their part
        self.memory = 1.0  # standard error of a mean over that of white noise
        self.ten: list[float] = []  # points being averaged
        self.clipped = 0  # of them

    def update(self, steps: Steps) -> Scores:
        at, y = self._log_losses(steps)
        scores = Scores(at, y, [], [], [])
        done = 0
        while done < len(y):
            if self.n >= WARM_UP and len(self.base) >= REFILL:
                look = LOOK if self.n < YOUNG else TEN
                chunk = y[done : done + look - self.n % look]
                done += len(chunk)
                self._score(chunk, at[done - 1], scores)
            else:
                self._warm_up(y[done], scores)
                done += 1
        return scores

    def _log_losses(self, steps: Steps) -> tuple[Sequence[int], list[float]]:
        """Positions and logs of the losses that are scored."""
        loss = steps.own_losses
        at, values = positive(loss)
        if self.refused <= FEW and len(at) == len(steps):
            return at, list(map(math.log, values))
        at = []
        y: list[float] = []
        for i, x in enumerate(loss):
            if x is not None and 0.0 < x < math.inf:
                if self.refused <= FEW or self.refused <= PART * (self.n + len(y)):
                    at.append(i)
                    y.append(math.log(x))
            elif x is not None and -math.inf < x <= 0.0:
                self.refused += 1
        return at, y

    def _score(self, chunk: list[float], at: int, scores: Scores) -> None:
        """Scores the points up to the next look together; `at`: position of the last one."""
        level, sigma, number = self.level, self.sigma, len(chunk)
        z = [(y - level) / sigma for y in chunk]
        highest, start = max(z), len(scores.z)
        scores.z.extend(z)
        scores.stretches.append(Stretch(start, start + number, level, sigma, highest, self.memory))
        self.same += [(a > 0.0) == (b > 0.0) for a, b in zip([self.z, *z], z, strict=False)].count(True)
        self.z = z[-1]
        if highest < CLIP and min(z) > -CLIP:
            self.ten += chunk
        else:
            self.ten += [level + sigma * max(-CLIP, min(CLIP, v)) for v in z]
            self.clipped += sum([abs(v) >= CLIP for v in z])
        if highest <= SUSPICIOUS and not self.suspicious:
            self._accept(chunk)
        else:
            for y, v in zip(chunk, z, strict=True):
                self._doubt(y, v)
        self.n += number
        if self.n % LOOK == 0:
            if len(self.ten) == TEN:
                scores.tens.append(Ten(at, sum(self.ten) / TEN, self.clipped, sigma * self.memory))
            if self.n % TEN == 0:
                self.ten, self.clipped = [], 0
            self._look()

    def _accept(self, points: list[float]) -> None:
        """Points that teach the level and the noise."""
        joined = self.tail + points
        self.diffs.extend(map(sub, joined[5:], joined))
        self.tail = joined[-5:]
        self.base.extend(points)
        self.group += points

    def _doubt(self, y: float, z: float) -> None:
        """A point in a time of high points: those teach little."""
        if z <= SUSPICIOUS:
            self.suspicious = max(0, self.suspicious - 1)
            self._accept([y])
            return
        self.suspicious += 1
        if self.suspicious >= PATIENCE:
            self._accept([y])
        elif self.suspicious < 3:
            self._accept([self.middle + 2 * self.sigma])

    def _look(self) -> None:
        """Every five points of a young run, every ten or twenty later: moves the level, and sometimes the noise."""
        n, young = self.n, self.n < YOUNG
        if n % (LOOK if young else TEN if n < SETTLED else 2 * TEN):
            return
        self.middle = median(sorted(self.base))
        if self.group:
            limit = 3 * self.sigma
            residual = max(-limit, min(limit, sum(self.group) / len(self.group) - self.middle))
            self.lag = min(0.0, self.lag + (residual - self.lag) / (5 if young else 2.5))
            self.group = []
        self.level = self.middle + self.lag * min(1.0, n / LAG)
        if n % MEASURE == 0 or (young and n % 30 == 0) or (n < 200 and n % 10 == 0):
            self._measure_noise()
        self.sigma = self.noise * (1 + max(0, 200 - n) * 0.01)

    def _measure_noise(self) -> None:
        q = sorted(self.diffs)
        noise = max((q[3 * len(q) // 4] - q[len(q) // 4]) / IQR, SIGMA_FLOOR) if q else SIGMA_FLOOR
        self.noise += (noise - self.noise) * min(1.0, max(0.36, 1.2 - self.n / YOUNG))
        seen = self.n - self.looked
        if seen:
            self.same_sign += (self.same / seen - self.same_sign) * min(1.0, seen / 500)
        self.same, self.looked = 0, self.n
        r = min(max(0.0, math.sin(math.pi * (self.same_sign - 0.5)) - 0.1), 0.95)  # correlation of neighbours
        self.memory = math.sqrt((1 + r) / (1 - r))

    def _warm_up(self, y: float, scores: Scores) -> None:
        """A point of a run that is too young, or has just restarted."""
        known = self.n >= WARM_UP
        level, sigma, z = y, math.inf, 0.0
        if known:
            level, sigma = self.middle + ALLOWANCE, self.sigma
            z = max(0.0, (y - level) / sigma)
        elif len(self.base) >= FIRST:
            level = median(sorted(self.base))
        start = len(scores.z)
        scores.z.append(z)
        scores.stretches.append(Stretch(start, start + 1, level, sigma, z, self.memory))
        self.n += 1
        if z > SUSPICIOUS:
            self.suspicious += 1
            if self.suspicious < PATIENCE:
                return
        self._accept([y])
        if not known:
            self.middle = median(sorted(self.base))
        if len(self.base) >= REFILL and self.n >= WARM_UP:
            if not self.noise:
                self._measure_noise()
            self.middle = median(sorted(self.base))
            self.level, self.sigma = self.middle, self.noise * (1 + max(0, 200 - self.n) * 0.01)

    def restart(self) -> None:
        """The run goes on elsewhere: the level is learned anew, the noise stays."""
        self.base.clear()
        self.tail, self.group, self.ten = [], [], []
        self.lag, self.clipped = 0.0, 0

    def baseline(self) -> float | None:
        """The level as a loss, nats per token."""
        return math.exp(self.level) if self.n > WARM_UP else None
