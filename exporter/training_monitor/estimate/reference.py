"""Where the loss will end, judged by a reference run of about the same length.

Sister runs see the same batches, so that the ratio of their losses over the same steps is nearly free of noise: 0.02 to
0.1 % from one row of the curve to the next, where each loss alone has 0.3 to 1 % (46 NVIDIA and modded-nanogpt runs,
also where their lengths differ by 4 %). So both are averaged over exactly the same stretches, and their ratio is
carried on: ratio = b + a · (their end / their loss - 1) + misfit. A sister run has a = 0 and b near 1; another
configuration has a level of its own and a ratio that drifts while the loss falls. The likelihood says which it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from training_monitor.estimate.curve import LAST, LOSS
from training_monitor.estimate.noise import END, noise_at_end, noise_of, without_spikes
from training_monitor.estimate.regression import Hypothesis, Mixture, Outcome, Points, mixture, outcomes
from training_monitor.records import CurvePoint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_POINTS = 10  # stretches that both runs have in the recent past
LENGTH = (0.9, 1.1)  # of this run's: otherwise its end tells nothing about the end of this run
SAME_LENGTH = 0.002  # relative difference up to which both runs end with the same batches
RECENT = 0.4  # stretches before this part of the present step are left out
#: (sd of b, sd of a, part of their change ahead that is uncertain) of a sister run, a similar one, another one.
KINSHIP = ((0.005, 0.0005, 0.002), (0.03, 0.02, 0.02), (0.2, 0.25, 0.09))
MISFIT, MISFIT_LENGTH, TRUST, FLOOR = 0.001, 1.0, 1.0, 0.0006


class Area(NamedTuple):
    """The area under a loss over steps, by which it can be averaged over any stretch."""

    step: NDArray[np.float64]  # (n + 1,) where the rows of the curve end
    sums: NDArray[np.float64]  # (n + 1,)

    def means(self, ends: NDArray[np.float64]) -> NDArray[np.float64]:
        """Means from each of `ends` (n + 1,) to the next one, (n,)."""
        import numpy as np

        found: NDArray[np.float64] = np.diff(np.interp(ends, self.step, self.sums)) / np.diff(ends)
        return found


def from_reference(table: NDArray[np.float64], total: int, curve: Sequence[CurvePoint]) -> Mixture | None:
    """The final loss; None if the reference does not fit. `table`: as in final_loss."""
    import numpy as np

    known = [(p.step, p.loss) for p in curve if p.loss is not None and p.loss > 0]
    if len(known) < LEAST_POINTS or not LENGTH[0] < known[-1][0] / total < LENGTH[1]:
        return None
    last, loss = np.array(known, dtype=float).T
    mine, theirs = _area(table[:, LAST], table[:, LOSS]), _area(last, loss)
    end, corrected = _end_at(theirs, total)
    noise = math.sqrt(2) * noise_at_end(table, total)
    same = abs(last[-1] - total) <= max(1.0, SAME_LENGTH * total)
    found: list[Outcome] = []
    for scale in {1.0, 1.0 if same else last[-1] / total}:
        ends = _shared(mine, theirs._replace(step=theirs.step / scale))
        if len(ends) > LEAST_POINTS:
            ours, reference = mine.means(ends), theirs.means(ends * scale)
            found += _carried_on(ends, ours, reference, total, end, doubt=corrected, noise=noise, same=same)
    return mixture(found).scaled(end) if found else None


def _area(last: NDArray[np.float64], loss: NDArray[np.float64]) -> Area:
    """The area under losses (n,) of stretches that end with the steps `last` (n,)."""
    import numpy as np

    step = np.r_[max(-1.0, 2 * last[0] - last[1]), last]
    return Area(step, np.r_[0.0, np.cumsum(np.diff(step) * loss)])


def _end_at(theirs: Area, total: int) -> tuple[float, float]:
    """The final loss of the reference if it had had `total` steps, and how much of it is a correction for that.

    A run twice as long ends about as much lower as the reference fell in its second half.
    """
    import numpy as np

    length = theirs.step[-1]
    middle, _, end = theirs.means(length * np.array([0.45, 0.55, 1 - END, 1.0]))
    longer = (middle - end) * math.log(total / length) / math.log(2)
    return float(end - longer), abs(float(longer / end))


def _shared(mine: Area, theirs: Area) -> NDArray[np.float64]:
    """Ends of the stretches of the coarser curve that both have in the recent past of this run."""
    import numpy as np

    coarse = max(mine.step, theirs.step, key=lambda step: float(np.median(np.diff(step))))
    first = max(mine.step[0], theirs.step[0], RECENT * mine.step[-1])
    ends: NDArray[np.float64] = coarse[(coarse >= first) & (coarse <= min(mine.step[-1], theirs.step[-1]))]
    return ends


def _carried_on(
    ends: NDArray[np.float64],
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    total: int,
    end: float,
    *,
    doubt: float,
    noise: float,
    same: bool,
) -> list[Outcome]:
    """The final loss over that of the reference, for every kinship."""
    import numpy as np

    ratio = without_spikes(ours / theirs)
    one = noise_of(ratio)
    if same:  # what the two ends have in common is no noise between them
        noise = min(noise, one * math.sqrt(float(np.median(np.diff(ends))) / (END * total)))
    steps = (ends[1:] + ends[:-1]) / 2
    points = Points(np.log(np.maximum(1.0, steps)), ratio, np.full(len(ratio), one**2), math.log(total))
    terms, change = np.c_[np.ones_like(ratio), end / theirs - 1], 1 - end / float(np.median(theirs[-9:]))
    ahead = np.array([1.0, 0.0])
    hypotheses = [
        Hypothesis(0.0, terms, ahead, (1.0, 0.0), (b, a), math.hypot(share * change, doubt, noise, FLOOR))
        for b, a, share in KINSHIP
    ]
    return outcomes(points, hypotheses, misfit=MISFIT, length=MISFIT_LENGTH, trust=TRUST)
