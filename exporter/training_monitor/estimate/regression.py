"""Bayesian linear regression with correlated misfit, averaged over hypotheses.

y(x) = terms · coefficients + misfit(x) + noise. The coefficients have Gaussian priors; the misfit is what no hypothesis
explains, a Gaussian process with the covariance size² · exp(-|x - x'| / length), so that the recent past counts most
and uncertainty grows with the distance (Rasmussen and Williams 2006, section 2.7, with prior means).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Hypothesis(NamedTuple):
    """One explanation of y with k coefficients."""

    log_weight: float  # of its prior probability
    terms: NDArray[np.float64]  # (n, k): at the points
    ahead: NDArray[np.float64]  # (k,): where y is predicted
    prior_mean: Sequence[float]  # (k,)
    prior_sd: Sequence[float]  # (k,)
    change_share: float  # standard deviation added: this part of the predicted change of y from 1


class Points(NamedTuple):
    """What is known, in units in which the latest y is 1."""

    x: NDArray[np.float64]  # (n,) rising
    y: NDArray[np.float64]  # (n,)
    noise: NDArray[np.float64]  # (n,) variances
    x_ahead: float  # where y is wanted


def predicted(
    points: Points, hypotheses: Sequence[Hypothesis], *, misfit: float, length: float, trust: float
) -> tuple[float, float]:
    """Mean and variance of y at `points.x_ahead`, without noise.

    `misfit`, `length`: size and correlation length of the misfit. `trust`: power of the likelihood in the weights of
    the hypotheses, below 1 because none of them is true.
    """
    import numpy as np

    x, y, noise, x_ahead = points
    covariance = misfit**2 * np.exp(-np.abs(x[:, None] - x[None, :]) / length) + np.diag(noise)
    whiten = np.linalg.inv(np.linalg.cholesky(covariance))
    to_ahead = whiten @ (misfit**2 * np.exp(-np.abs(x - x_ahead) / length))
    rest = misfit**2 - float(to_ahead @ to_ahead)
    results = [_one(h, whiten, whiten @ y, to_ahead, trust) for h in hypotheses]
    score, mean, variance = np.array(results).T
    weight = np.exp(score - score.max())
    weight /= weight.sum()
    average = float(weight @ mean)
    return average, max(0.0, float(weight @ (variance + rest + (mean - average) ** 2)))


def _one(
    h: Hypothesis,
    whiten: NDArray[np.float64],
    y: NDArray[np.float64],
    to_ahead: NDArray[np.float64],
    trust: float,
) -> tuple[float, float, float]:
    """Log posterior weight, mean and variance under one hypothesis; `y` is whitened."""
    import numpy as np

    prior, variance = np.array(h.prior_mean), np.array(h.prior_sd) ** 2
    basis = whiten @ h.terms
    precision = np.diag(1 / variance) + basis.T @ basis
    posterior: Any = np.linalg.inv(precision)
    off = y - basis @ prior
    projected = basis.T @ off
    fit = prior + posterior @ projected
    evidence = (
        -(off @ off - projected @ posterior @ projected + math.log(np.linalg.det(precision) * variance.prod())) / 2
    )
    mean = float(h.ahead @ fit + to_ahead @ (y - basis @ fit))
    ahead = h.ahead - basis.T @ to_ahead
    spread = float(ahead @ posterior @ ahead) + (h.change_share * (1 - mean)) ** 2
    return trust * float(evidence) + h.log_weight, mean, spread
