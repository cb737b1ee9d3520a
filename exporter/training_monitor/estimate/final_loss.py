"""Where the loss will end, with an interval that holds it in 90 % of cases.

Without a reference run: the law of Tissue et al. (arXiv 2408.11029), L = L0 + A·S^-a + K·r, where S is the area under
the learning rate so far, and r is the learning rate over its peak (their annealing term without its memory). Beside it
stands the same law in plain steps without r, for logs whose learning rate does not rule the loss.

With a reference run of about the same length: a + b times its loss at the same step, where a sister run has a = 0.

Measured with tests/bench/estimates.py at 25, 50 and 75 % of a run (median error): nanogpt runs 0.9, 0.5, 0.7 %, of
which half is the noise of their end; 30 synthetic runs 1.7, 1.3, 0.6 %, where the error is mostly that nobody knows
whether a constant learning rate will fall; NVIDIA runs with a sister run as reference 0.1 to 0.8, 0.15, 0.1 %. The
interval held the truth in 95, 97, 93 % (without) and 99, 96, 89 % (with a reference). No answer for 25, 13, 5 % of the
runs, among them most that do not follow any power law (BERT before its drop).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from training_monitor.estimate.baseline import Reference
from training_monitor.estimate.curve import CENTER, LEARNING_RATE, LINES, LOSS, Row
from training_monitor.estimate.regression import Hypothesis, Points, predicted
from training_monitor.estimate.schedule import DECAYED, futures
from training_monitor.records import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_ROWS = 20  # points of the curve
LEAST_PROGRESS = 0.2
STEEPEST = 0.2  # a run that lost more than this part of its loss in the recent past is still in its first descent
RECENT = 0.4  # rows before this part of the present step are left out: early training follows another law
WIDEST = 0.15  # an interval of more than ± 15 % says nothing: None instead
Z90 = 1.645
MISFIT_LENGTH = 1.0  # in log steps

# The law. Priors are relative to the present loss; those of L0 and A are wide. K: warm-downs of nanochat and
# modded-nanogpt win 2 to 4 %. The exponents: of power laws through public curves from a quarter of their length on.
PRIOR_MEAN, PRIOR_SD = (0.75, 0.25, 0.035), (1.0, 2.0, 0.02)  # L0, A (at the end of the run), K
EXPONENTS = (0.15, 0.24, 0.36, 0.52, 0.75, 1.1, 1.6)
EXPONENT_AREA, EXPONENT_STEPS, EXPONENT_LOG_SD = 0.4, 0.6, 0.35
LR_RULES = 0.5  # probability of the law with the learning rate, once it has moved
LAW_MISFIT, LAW_TRUST, LAW_CHANGE_SHARE, LAW_FLOOR = 0.003, 0.3, 0.25, 0.003

# The reference: (sd of a, sd of b, share of the change that is uncertain) of a sister run, a similar one, another one.
KINSHIP = ((0.003, 0.03, 0.005), (0.03, 0.1, 0.05), (0.2, 0.3, 0.12))
REFERENCE_LENGTH = (0.9, 1.1)  # of this run's: otherwise its end tells nothing about the end of this run
REFERENCE_MISFIT, REFERENCE_TRUST, REFERENCE_FLOOR = 0.002, 0.6, 0.002


def final_loss(rows: Sequence[Row], total_steps: int, reference: Reference | None = None) -> Interval | None:
    """The loss expected at step `total_steps` with its 90 % interval; None while it is too early to say."""
    import numpy as np

    table = _table(rows)
    if table is None or total_steps < 1:
        return None
    now, step = float(np.median(table[-9:, LOSS])), float(table[-1, CENTER])
    recent = table[:, CENTER] >= RECENT * step
    if not 0 < now < math.inf or recent.sum() < LEAST_ROWS // 2:
        return None
    total = max(total_steps, math.ceil(step) + 1)
    try:
        with np.errstate(all="ignore"):
            found = None if reference is None else _from_reference(table, recent, now, total, reference)
            found = found or _from_law(table, recent, now, total)
    except (np.linalg.LinAlgError, ValueError, OverflowError):  # numbers that no curve of a loss has
        return None
    return None if found is None else _interval(now, *found)


def _table(rows: Sequence[Row]) -> NDArray[np.float64] | None:
    """The rows with a loss, (n, 7); None with too few of them, or where the loss is not a number now."""
    import numpy as np

    known = [r for r in rows if r[LOSS] is not None]
    if len(known) < LEAST_ROWS or all(r[LOSS] is None for r in rows[-3:]):
        return None
    return np.array([[math.nan if v is None else v for v in r] for r in known])


def _interval(now: float, mean: float, sd: float) -> Interval | None:
    half = Z90 * sd
    if not math.isfinite(mean) or not half < WIDEST * abs(mean):
        return None
    return Interval(now * mean, now * (mean - half), now * (mean + half))


def _from_reference(
    table: NDArray[np.float64], recent: NDArray[np.bool_], now: float, total: int, reference: Reference
) -> tuple[float, float] | None:
    """Mean and standard deviation over the present loss; None if the reference does not fit."""
    import numpy as np

    known = [(p.step, p.loss) for p in reference.curve if p.loss is not None and p.loss > 0]
    if len(known) < LEAST_ROWS or not REFERENCE_LENGTH[0] < (scale := (known[-1][0] + 1) / total) < REFERENCE_LENGTH[1]:
        return None
    theirs = np.array(known, dtype=float)
    theirs[1:, 0] -= np.diff(theirs[:, 0]) / 2  # a point averages the stretch before it
    at = table[:, CENTER] * scale
    shared = recent & (at >= theirs[0, 0]) & (at <= theirs[-1, 0])
    if shared.sum() < LEAST_ROWS // 2:
        return None
    loss = np.interp(at[shared], theirs[:, 0], theirs[:, 1])
    loss_now, loss_end = float(np.median(loss[-9:])), float(theirs[-max(2, len(theirs) // 50) :, 1].mean())
    terms, ahead = np.c_[np.ones_like(loss), loss / loss_now], np.array([1.0, loss_end / loss_now])
    y = _without_spikes(table[shared, LOSS]) / now
    noise = _noise(y - loss / loss_now)  # sister runs share their noise, as they see the same data
    points = Points(np.log(np.maximum(1.0, table[shared, CENTER])), y, np.full(len(y), noise**2), math.log(total))
    hypotheses = [Hypothesis(0.0, terms, ahead, (0.0, 1.0), (a, b), share) for a, b, share in KINSHIP]
    mean, variance = predicted(points, hypotheses, misfit=REFERENCE_MISFIT, length=MISFIT_LENGTH, trust=REFERENCE_TRUST)
    return mean, math.sqrt(variance + noise**2 + REFERENCE_FLOOR**2)


def _from_law(
    table: NDArray[np.float64], recent: NDArray[np.bool_], now: float, total: int
) -> tuple[float, float] | None:
    """Mean and standard deviation over the present loss; None while it is too early for a law."""
    import numpy as np

    y = _without_spikes(table[recent, LOSS]) / now
    if table[-1, CENTER] < LEAST_PROGRESS * total or (1 - STEEPEST) * float(np.median(y[:5])) > 1:
        return None
    noise, lines = _noise(y), table[recent, LINES]
    x = np.log(np.maximum(1.0, table[recent, CENTER]))
    points = Points(x, y, noise**2 * np.median(lines) / lines, math.log(total))
    mean, variance = predicted(
        points, _laws(table, recent, total), misfit=LAW_MISFIT, length=MISFIT_LENGTH, trust=LAW_TRUST
    )
    return mean, math.sqrt(variance + noise**2 + LAW_FLOOR**2)


def _laws(table: NDArray[np.float64], recent: NDArray[np.bool_], total: int) -> list[Hypothesis]:
    """The law for every exponent and every way in which the learning rate may go on."""
    import numpy as np

    steps, rate = table[:, CENTER], table[:, LEARNING_RATE]
    known = bool(np.isfinite(rate).all() and rate.max() > 0)
    relative = rate / rate.max() if known else np.ones_like(steps)
    width = np.diff(steps, prepend=0.0)
    area = np.maximum(1e-9, np.cumsum(width * relative) - width * relative / 2)
    moved = known and bool(relative[steps >= 0.2 * steps[-1]].min() < DECAYED)
    laws = []
    for exponent in EXPONENTS:
        for future in futures(steps, relative, total):
            power = (area[recent] / (area[-1] + future.area)) ** -exponent
            terms = np.c_[np.ones_like(power), power, relative[recent]]
            weight = future.weight * (LR_RULES if moved else 1.0) * _prior(exponent, EXPONENT_AREA)
            ahead = np.array([1.0, 1.0, future.end])
            laws.append(Hypothesis(math.log(weight), terms, ahead, PRIOR_MEAN, PRIOR_SD, LAW_CHANGE_SHARE))
        if moved:
            power = (np.maximum(1.0, steps[recent]) / total) ** -exponent
            terms = np.c_[np.ones_like(power), power]
            weight = (1 - LR_RULES) * _prior(exponent, EXPONENT_STEPS)
            laws.append(Hypothesis(math.log(weight), terms, np.ones(2), PRIOR_MEAN[:2], PRIOR_SD[:2], LAW_CHANGE_SHARE))
    return laws


def _prior(exponent: float, center: float) -> float:
    return math.exp(-((math.log(exponent / center) / EXPONENT_LOG_SD) ** 2) / 2)


def _noise(loss: NDArray[np.float64]) -> float:
    """Standard deviation of one point, from second differences, which the trend does not enter."""
    import numpy as np

    second = loss[2:] - 2 * loss[1:-1] + loss[:-2]
    return max(2e-4, 1.4826 * float(np.median(np.abs(second - np.median(second)))) / math.sqrt(6))


def _without_spikes(loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """The losses, those far off the median of the five around them replaced by it."""
    import numpy as np

    around = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(loss, 2, mode="edge"), 5), axis=1)
    far = np.abs(loss - around) > 6 * _noise(loss)
    return np.where(far, around, loss)
