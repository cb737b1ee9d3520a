"""Where the loss will end, judged by the law of Tissue et al. (arXiv 2408.11029).

L = L0 + A · S^-a + K · r. S is the area under the learning rate so far. r is the learning rate over its peak, behind
which it lags by `MEMORY` steps while it falls: their annealing term, written as what is still to be won. Beside it
stands L = L0 + A · t^-a in plain steps, for logs whose learning rate does not rule the loss. Averaged over exponents,
over the ways in which the learning rate may go on, and over sizes of what the law does not explain: a run that follows
it well so far has the narrower interval.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from training_monitor.estimate.curve import CENTER, LEARNING_RATE, LINES, LOSS
from training_monitor.estimate.noise import noise_at_end, noise_of, without_spikes
from training_monitor.estimate.regression import Hypothesis, Mixture, Points, mixture, outcomes
from training_monitor.estimate.schedule import DECAYED, futures

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Priors, relative to the present loss. K: warm-downs of nanochat and modded-nanogpt win 2 to 4 %.
PRIOR_MEAN, PRIOR_SD = (0.75, 0.15, 0.036), (0.2, 0.25, 0.01)  # L0, A (at the end of the run), K
EXPONENTS = (0.15, 0.24, 0.36, 0.52, 0.75, 1.1, 1.6)
EXPONENT_AREA, EXPONENT_STEPS, EXPONENT_LOG_SD = 0.4, 0.7, 0.2
LR_RULES = 0.55  # probability of the law with the learning rate, once it has moved
MEMORY = 100.0  # steps: their momentum 0.99
RECENT = 0.3  # rows before this part of the present step are left out: early training follows another law
MISFITS = (0.0015, 0.006, 0.024)  # sizes, equally likely at first
MISFIT_LENGTH = 1.4  # in log steps
TRUST = 0.3  # in the likelihood
CHANGE = 0.03  # standard deviation added: this part of the change ahead
FLOOR, AHEAD = 0.002, 1.5  # and so much of the loss, and so often the misfit, as both may grow with what is ahead
FAR = math.log(4 / 3)  # log steps ahead from which on these two are whole: at three quarters of a run


def from_law(table: NDArray[np.float64], total: int) -> Mixture:
    """The final loss. `table`: as in final_loss."""
    import numpy as np

    recent = table[:, CENTER] >= RECENT * table[-1, CENTER]
    now = float(np.median(table[-9:, LOSS]))
    y, lines = without_spikes(table[recent, LOSS]) / now, table[recent, LINES]
    x = np.log(np.maximum(1.0, table[recent, CENTER]))
    points = Points(x, y, noise_of(y) ** 2 * np.median(lines) / lines, math.log(total))
    laws = _laws(table, recent, total)
    ahead = math.sqrt(min(1.0, math.log(total / table[-1, CENTER]) / FAR))
    noise = noise_at_end(table, total)
    found = []
    for size in MISFITS:
        doubt = math.hypot(noise, ahead * FLOOR, ahead * AHEAD * size)
        found += [
            o._replace(variance=o.variance + (CHANGE * (1 - o.mean)) ** 2 + doubt**2)
            for o in outcomes(points, laws, misfit=size, length=MISFIT_LENGTH, trust=TRUST)
        ]
    return mixture(found).scaled(now)


def _laws(table: NDArray[np.float64], recent: NDArray[np.bool_], total: int) -> list[Hypothesis]:
    """The law for every exponent and every way in which the learning rate may go on."""
    import numpy as np

    steps, rate = table[:, CENTER], table[:, LEARNING_RATE]
    known = bool(np.isfinite(rate).all() and rate.max() > 0)
    relative = rate / rate.max() if known else np.ones_like(steps)
    width = np.diff(steps, prepend=0.0)
    area = np.maximum(1e-9, np.cumsum(width * relative) - width * relative / 2)
    moved = known and bool(relative[steps >= 0.2 * steps[-1]].min() < DECAYED)
    lagging = _lagging(width, relative)[recent]
    ways = futures(steps, relative, total)
    laws = []
    for exponent in EXPONENTS:
        for future in ways:
            power = (area[recent] / (area[-1] + future.area)) ** -exponent
            terms = np.c_[np.ones_like(power), power, lagging]
            weight = future.weight * (LR_RULES if moved else 1.0) * _prior(exponent, EXPONENT_AREA)
            ahead = np.array([1.0, 1.0, future.end])
            laws.append(Hypothesis(math.log(weight), terms, ahead, PRIOR_MEAN, PRIOR_SD))
        if moved:
            power = (np.maximum(1.0, steps[recent]) / total) ** -exponent
            terms = np.c_[np.ones_like(power), power, np.zeros_like(power)]
            weight = (1 - LR_RULES) * _prior(exponent, EXPONENT_STEPS)
            ahead = np.array([1.0, 1.0, 0.0])
            laws.append(Hypothesis(math.log(weight), terms, ahead, PRIOR_MEAN, PRIOR_SD))
    return laws


def _prior(exponent: float, center: float) -> float:
    return math.exp(-((math.log(exponent / center) / EXPONENT_LOG_SD) ** 2) / 2)


def _lagging(width: NDArray[np.float64], relative: NDArray[np.float64]) -> NDArray[np.float64]:
    """The relative learning rate, behind which the loss lags while it falls."""
    import numpy as np

    share = 1 - np.exp(-width / MEMORY)
    found: NDArray[np.float64] = relative.copy()
    for i in range(1, len(found)):
        if relative[i] < found[i - 1]:
            found[i] = found[i - 1] + share[i] * (relative[i] - found[i - 1])
    return found
