"""Where the loss will end, with an interval that holds it in 90 % of cases.

Without a reference run: the law of Tissue et al. (arXiv 2408.11029), L = L0 + A·S^-a + K·r, where S is the area under
the learning rate so far, and r is the learning rate over its peak (their annealing term without its memory). L0, A and
K are fitted by Bayesian regression with priors; a is averaged over; what the law does not explain is a Gaussian process
in log steps, so that the recent past counts most and the interval widens with the distance. Beside it stands the same
law in plain steps without r, for logs whose learning rate does not rule the loss.

With a reference run of about the same length: its final loss times the ratio of the two losses in the recent past.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from training_monitor.estimate.baseline import Reference
from training_monitor.estimate.curve import CENTER, LEARNING_RATE, LINES, LOSS, Row
from training_monitor.estimate.schedule import DECAYED, futures
from training_monitor.records import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_ROWS = 20  # points of the curve
LEAST_PROGRESS = 0.2
STEEPEST = 0.2  # a run that lost more than this part of its loss in the recent past is still in its first descent
WIDEST = 0.15  # an interval of more than ± 15 % says nothing: None instead
Z90 = 1.645

# Priors, relative to the present loss. The exponent: of power laws through 76 public curves from 25 % on. K: warm-downs
# of nanochat and modded-nanogpt win 2 to 4 %. The other two are wide.
PRIOR_MEAN, PRIOR_SD = (0.75, 0.25, 0.035), (1.0, 2.0, 0.02)  # L0, A (at the end of the run), K
EXPONENT_AREA, EXPONENT_STEPS, EXPONENT_LOG_SD = 0.4, 0.6, 0.35
EXPONENTS = (0.15, 0.24, 0.36, 0.52, 0.75, 1.1, 1.6)
RECENT = 0.4  # rows before this part of the present step are left out: early training follows another law
MISFIT, MISFIT_LENGTH = 0.003, 1.0  # what the law leaves unexplained: relative size, and length in log steps
TRUST = 0.3  # power of the likelihood in the average over laws: curves are not that faithful to any law
LR_RULES = 0.5  # probability of the law with the learning rate, once it has moved
DROP_SHARE, FLOOR = 0.25, 0.003  # added to the interval: part of the remaining drop, part of the loss


class _Law(NamedTuple):
    """One hypothesis: where the clock of the power law stands, and how the learning rate goes on."""

    log_weight: float
    clock: NDArray[np.float64]
    clock_end: float
    relative: NDArray[np.float64] | None
    relative_end: float
    exponent: float  # prior


class _Data(NamedTuple):
    """What all hypotheses share."""

    recent: NDArray[np.bool_]  # which rows are fitted
    whiten: NDArray[np.float64]  # makes their noise and misfit independent with variance 1
    loss: NDArray[np.float64]  # over the present one, whitened
    to_end: NDArray[np.float64]  # covariance of the misfit with that at the end, whitened


def final_loss(rows: Sequence[Row], total_steps: int, reference: Reference | None = None) -> Interval | None:
    """The loss expected at step `total_steps` with its 90 % interval; None while it is too early to say."""
    import numpy as np

    if not any(r[LOSS] is not None for r in rows[-3:]):
        return None  # the loss is not a number now
    known = [r for r in rows if r[LOSS] is not None]
    if len(known) < LEAST_ROWS or total_steps < 1:
        return None
    table = np.array([[math.nan if v is None else v for v in r] for r in known])
    if table[-1, CENTER] < LEAST_PROGRESS * total_steps or np.median(table[-9:, LOSS]) <= 0:
        return None
    if reference is not None and (found := _from_reference(table, total_steps, reference)) is not None:
        return found
    return _from_law(table, max(total_steps, math.ceil(table[-1, CENTER]) + 1))


def _interval(estimate: float, sd: float) -> Interval | None:
    half = Z90 * sd
    if not math.isfinite(estimate) or not half < WIDEST * abs(estimate):
        return None
    return Interval(estimate, estimate - half, estimate + half)


# -- a reference run --------------------------------------------------------------------------------------------------


def _from_reference(table: NDArray[np.float64], total: int, reference: Reference) -> Interval | None:
    """None if the reference is much longer or shorter: then its end tells nothing about the end of this run."""
    import numpy as np

    points = [(p.step, p.loss) for p in reference.curve if p.loss is not None and p.loss > 0]
    if len(points) < LEAST_ROWS or not 0.9 < (points[-1][0] + 1) / total < 1.1:
        return None
    theirs = np.array(points, dtype=float)
    theirs[1:, 0] -= np.diff(theirs[:, 0]) / 2  # a point averages the stretch before it
    at = table[:, CENTER] * (points[-1][0] + 1) / total
    shared = (at >= theirs[0, 0]) & (at <= theirs[-1, 0]) & (table[:, LOSS] > 0)
    if shared.sum() < LEAST_ROWS:
        return None
    ratio = np.log(table[shared, LOSS]) - np.log(np.interp(at[shared], theirs[:, 0], theirs[:, 1]))
    recent = ratio[-max(6, int(0.3 * len(ratio))) :]
    half = len(recent) // 2
    drift = float(recent[half:].mean() - recent[:half].mean())
    progress = min(1.0, table[-1, CENTER] / total)
    ahead = min(4.0, (1 - progress) / (0.15 * progress))  # remaining time in units of the distance of the two halves
    sd = math.sqrt((0.5 + 2 / len(recent)) * float(recent.var()) + (1.5 * drift) ** 2 * ahead + FLOOR**2)
    end = float(theirs[-max(2, len(theirs) // 50) :, 1].mean())
    estimate = end * math.exp(float(recent.mean()))
    return _interval(estimate, sd * estimate)


# -- a law ------------------------------------------------------------------------------------------------------------


def _from_law(table: NDArray[np.float64], total: int) -> Interval | None:
    import numpy as np

    recent = table[:, CENTER] >= RECENT * table[-1, CENTER]
    loss = _without_spikes(table[recent, LOSS])
    now = float(np.median(loss[-9:]))
    if len(loss) < LEAST_ROWS // 2 or now < (1 - STEEPEST) * float(np.median(loss[:5])):
        return None
    noise = _noise(loss / now) ** 2 * np.median(table[recent, LINES]) / table[recent, LINES]
    x, x_end = np.log(np.maximum(1.0, table[recent, CENTER])), math.log(total)
    covariance = MISFIT**2 * np.exp(-np.abs(x[:, None] - x[None, :]) / MISFIT_LENGTH) + np.diag(noise)
    whiten = np.linalg.inv(np.linalg.cholesky(covariance))
    to_end = whiten @ (MISFIT**2 * np.exp(-np.abs(x - x_end) / MISFIT_LENGTH))
    found = [
        _regressed(law, exponent, _Data(recent, whiten, whiten @ (loss / now), to_end))
        for law in _laws(table, total)
        for exponent in EXPONENTS
    ]
    score, mean, variance = np.array(found).T
    weight = np.exp(score - score.max())
    weight /= weight.sum()
    estimate = float(weight @ mean)
    spread = float(weight @ (variance + (mean - estimate) ** 2))
    point = _noise(loss / now)  # the end of a run is as noisy as any point of its curve
    sd = math.sqrt(max(0.0, spread) + (DROP_SHARE * (1 - estimate)) ** 2 + point**2 + FLOOR**2)
    return _interval(estimate * now, sd * now)


def _laws(table: NDArray[np.float64], total: int) -> list[_Law]:
    """The hypotheses with their prior probabilities."""
    import numpy as np

    steps, rate = table[:, CENTER], table[:, LEARNING_RATE]
    known = bool(np.isfinite(rate).all() and rate.max() > 0)
    relative = rate / rate.max() if known else np.ones_like(steps)
    width = np.diff(steps, prepend=0.0)
    area = np.maximum(1e-9, np.cumsum(width * relative) - width * relative / 2)
    moved = known and bool(relative[steps >= 0.2 * steps[-1]].min() < DECAYED)
    prior = LR_RULES if moved else 1.0
    laws = [
        _Law(math.log(prior * f.weight), area, float(area[-1] + f.area), relative, f.end, EXPONENT_AREA)
        for f in futures(steps, relative, total)
    ]
    if moved:
        laws.append(_Law(math.log(1 - prior), steps, float(total), None, 0.0, EXPONENT_STEPS))
    return laws


def _regressed(law: _Law, exponent: float, data: _Data) -> tuple[float, float, float]:
    """Score (log posterior weight), mean and variance of the final loss under one law."""
    import numpy as np

    recent, whiten, loss, to_end = data
    power = (law.clock[recent] / law.clock_end) ** -exponent
    terms, end = [np.ones_like(power), power], [1.0, 1.0]
    if law.relative is not None:
        terms.append(law.relative[recent])
        end.append(law.relative_end)
    n = len(terms)
    mean, variance = np.array(PRIOR_MEAN[:n]), np.array(PRIOR_SD[:n]) ** 2
    basis = whiten @ np.array(terms).T
    precision = np.diag(1 / variance) + basis.T @ basis
    posterior: Any = np.linalg.inv(precision)
    fit = posterior @ (mean / variance + basis.T @ loss)
    ahead = np.array(end) - basis.T @ to_end
    off = loss - basis @ mean
    projected = basis.T @ off
    evidence = -(
        off @ off - projected @ posterior @ projected + np.linalg.slogdet(precision)[1] + np.log(variance).sum()
    )
    score = TRUST * evidence / 2 + law.log_weight - (math.log(exponent / law.exponent) / EXPONENT_LOG_SD) ** 2 / 2
    at_end = np.array(end) @ fit + to_end @ (loss - basis @ fit)
    return float(score), float(at_end), float(MISFIT**2 - to_end @ to_end + ahead @ posterior @ ahead)


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
