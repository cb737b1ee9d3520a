"""The level of a step time against an anchored baseline."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import repeat
from operator import sub

from training_monitor.detect.windows import median
from training_monitor.state import Stateful

SKIPPED = 10  # first points of a process: compilation, caches
FIRST = 51  # points that make a baseline …
AGREE = 0.03  # … once the medians of their halves agree within this …
SURE = 400  # … or after so many points in any case
EVERY = 50  # points between two looks at noise and improvement
MARGIN = 0.98  # a held ratio is known to 2 %, so a limit counts as reached from there on
SMALL, SMALL_CLOSE = 1.035, 1.02  # ratio that is a notice, and below which it ends; −5 % of MFU is a ratio of 1.053
SMALL_SIGMAS = 0.9  # noise of single steps that the median of 31 tells from chance
MANY, MANY_HALF = (1 << 31) - 1, 15
FEW, FEW_HALF = (1 << 11) - 1, 5
BURST, BURST_HALF = (1 << 9) - 1, 4  # so many slow steps of nine are a notice


class Pace(Stateful):
    """Running medians of step times over a baseline: 1 notice (median of 31), 2 warning, 3 critical (medians of 11).

    The baseline is the median of the first points after the first 10, once their halves agree; it follows an
    improvement and never a slowdown. A median is above a limit when more than half of its points are, so each point
    is kept as one bit. One odd step, a pause or a burst of five slow steps moves none of the medians.

    Measured: −5 % of MFU after 15 points, −15 %, −30 %, 1.5x and 2x at the sixth, all of them; no page in 116,000
    healthy points. Blind for the first 61 points.
    """

    __slots__ = (
        "base",
        "bits",
        "bounds",
        "first",
        "is_open",
        "limits",
        "n",
        "noise",
        "recent",
        "sigmas",
        "skip",
        "small",
    )
    constants = ("limits", "sigmas")

    def __init__(self, warning: float, critical: float, sigmas: float) -> None:
        """`warning`, `critical`: ratios to the baseline; `sigmas`: noise that the median of 11 tells from chance."""
        self.limits = warning * MARGIN, critical * MARGIN
        self.sigmas = sigmas
        self.recent: deque[float] = deque(maxlen=101)  # seconds
        self.first: deque[float] = deque(maxlen=101)  # seconds: what the baseline is made of
        self.base: float | None = None  # seconds
        self.noise = 0.02  # standard deviation of a step, over the baseline
        self.bounds = (math.inf, math.inf, math.inf)  # seconds: notice, warning, critical
        self.small = 0  # the last 31 points, one bit each: above the bound of a notice
        self.bits = (0, 0)  # the last 11 points: above the bounds of warning and critical
        self.is_open = False
        self.n = 0
        self.skip = SKIPPED

    def scan(self, seconds: Sequence[float]) -> Iterator[tuple[int, int]]:
        """Takes step times; index and level of each that is not plainly quiet, or makes the baseline.

        While the caller handles one, the state is as of that step.
        """
        i, total = 0, len(seconds)
        while i < total:
            if self.skip or self.base is None:
                if self._learn(seconds[i]):
                    yield i, 0
                i += 1
                continue
            chunk = seconds[i : i + EVERY - self.n % EVERY]
            if not self.small and max(chunk) <= self.bounds[0]:
                self.recent.extend(chunk)
            else:
                for k, x in enumerate(chunk, i):
                    self.recent.append(x)
                    if self.small or x > self.bounds[0]:
                        yield k, self._level(x)
            self.n += len(chunk)
            i += len(chunk)
            if self.n % EVERY == 0:
                self._look(self.base)

    def _level(self, x: float) -> int:
        notice, warning, critical = self.bounds
        small = self.small = (self.small << 1 | (x > notice)) & MANY
        worse, worst = self.bits
        self.bits = worse, worst = (worse << 1 | (x > warning)) & FEW, (worst << 1 | (x > critical)) & FEW
        if worse.bit_count() > FEW_HALF:
            level = 3 if worst.bit_count() > FEW_HALF else 2
        else:
            level = 1 if small.bit_count() > MANY_HALF or (worse & BURST).bit_count() > BURST_HALF else 0
        if self.is_open != (level > 0):
            self.is_open = level > 0
            self._bound()
        return level

    def _learn(self, x: float) -> bool:
        """A point before there is a baseline, or of the first ones of a process; True when it makes the baseline."""
        if self.skip:
            self.skip -= 1
            return False
        self.n += 1
        self.recent.append(x)
        self.first.append(x)
        values = list(self.first)
        if len(values) < FIRST:
            return False
        half = len(values) // 2
        early, late = median(sorted(values[:half])), median(sorted(values[half:]))
        if abs(early / late - 1) >= AGREE and self.n <= SURE:
            return False
        self._look(median(sorted(values)))
        self.first.clear()
        return True

    def _look(self, base: float) -> None:
        """Measures the noise and follows an improvement."""
        now = sorted(self.recent)
        middle = median(now)
        if len(now) >= FIRST:
            self.noise = 1.4826 * median(sorted(map(abs, map(sub, now, repeat(middle))))) / base
            if middle < 0.995 * base:
                base = middle
        self.rebase(base)

    def rebase(self, base: float) -> None:
        """Compares with `base` seconds from now on."""
        self.base = base
        self._bound()

    def _bound(self) -> None:
        base, chance = self.base or math.inf, 1 + self.sigmas * self.noise
        small = max(SMALL_CLOSE if self.is_open else SMALL, 1 + SMALL_SIGMAS * self.noise)
        self.bounds = base * small, base * max(self.limits[0], chance), base * max(self.limits[1], chance)

    def scale(self, factor: float) -> None:
        """A step does `factor` times the work from now on."""
        if self.base is not None:
            self.base *= factor
        self.recent = deque((x * factor for x in self.recent), maxlen=self.recent.maxlen)
        self._bound()

    def forget(self) -> None:
        """The baseline is learned anew: other hardware."""
        self.base = None
        self.small, self.bits, self.is_open = 0, (0, 0), False
        self.recent.clear()
        self.resumed()

    def resumed(self) -> None:
        """The first steps of a process are skipped again."""
        self.skip = SKIPPED

    def now(self) -> float | None:
        """The running median that the level was taken from, seconds: of 11, 9 in a burst, 31 for small excesses."""
        points = 11
        if self.is_open and self.bits[0].bit_count() <= FEW_HALF:
            points = 31 if self.small.bit_count() > MANY_HALF else 9
        recent = list(self.recent)[-points:]
        return median(sorted(recent)) if recent else None
