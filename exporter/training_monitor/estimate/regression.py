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
    doubt: float = 0.0  # standard deviation added to the prediction


class Points(NamedTuple):
    """What is known, in units in which the latest y is 1."""

    x: NDArray[np.float64]  # (n,) rising
    y: NDArray[np.float64]  # (n,)
    noise: NDArray[np.float64]  # (n,) variances
    x_ahead: float  # where y is wanted


class Outcome(NamedTuple):
    """What one hypothesis expects."""

    log_weight: float
    mean: float
    variance: float


def outcomes(
    points: Points, hypotheses: Sequence[Hypothesis], *, misfit: float, length: float, trust: float
) -> list[Outcome]:
    """y at `points.x_ahead`, without noise, under each hypothesis; all of them have the same number of coefficients.

    `misfit`, `length`: size and correlation length of the misfit. `trust`: power of the likelihood of a hypothesis
    over that of the best one, below 1 because none of them is true. Between the outcomes of several calls, as of other
    sizes of misfit, that of the best one counts in full.
    """
    import numpy as np

    x, y, noise, x_ahead = points
    covariance = misfit**2 * np.exp(-np.abs(x[:, None] - x[None, :]) / length) + np.diag(noise)
    root = np.linalg.cholesky(covariance)
    whiten = np.linalg.inv(root)
    to_ahead = whiten @ (misfit**2 * np.exp(-np.abs(x - x_ahead) / length))
    rest = misfit**2 - float(to_ahead @ to_ahead)
    evidence, mean, variance = _fitted(whiten @ y, whiten, to_ahead, hypotheses)
    best = float(evidence.max() - np.log(np.diag(root)).sum())
    evidence = trust * (evidence - evidence.max()) + best
    return [
        Outcome(h.log_weight + e, m, v + rest + h.doubt**2)
        for h, e, m, v in zip(hypotheses, evidence.tolist(), mean.tolist(), variance.tolist(), strict=True)
    ]


def _fitted(
    y: NDArray[np.float64], whiten: NDArray[np.float64], to_ahead: NDArray[np.float64], hypotheses: Sequence[Hypothesis]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Log evidence, mean and variance under each of m hypotheses, (m,); `y` is whitened."""
    import numpy as np

    prior = np.array([h.prior_mean for h in hypotheses])[..., None]  # columns: (m, k, 1)
    variance = np.array([h.prior_sd for h in hypotheses]) ** 2
    ahead = np.array([h.ahead for h in hypotheses])[..., None]
    basis = whiten @ np.array([h.terms for h in hypotheses])
    across = np.swapaxes(basis, 1, 2)
    precision = across @ basis + np.eye(basis.shape[2]) / variance[:, None, :]
    posterior: Any = np.linalg.inv(precision)
    off = y[:, None] - basis @ prior
    projected = across @ off
    fit = prior + posterior @ projected
    explained = (projected * (posterior @ projected)).sum(axis=(1, 2))
    volume = np.linalg.slogdet(precision)[1] + np.log(variance).sum(axis=1)
    evidence = -((off**2).sum(axis=(1, 2)) - explained + volume) / 2
    mean = (ahead * fit).sum(axis=(1, 2)) + (y[:, None] - basis @ fit)[..., 0] @ to_ahead
    rest = ahead - across @ to_ahead[:, None]
    return evidence, mean, (rest * (posterior @ rest)).sum(axis=(1, 2))


class Mixture(NamedTuple):
    """Gaussians with weights that sum to 1."""

    weight: list[float]
    mean: list[float]
    sd: list[float]

    def quantile(self, probability: float) -> float:
        """The value below which the outcome lies with `probability`, 0 to 1."""
        parts = list(zip(self.weight, self.mean, self.sd, strict=True))
        low, high = min(m - 6 * s for _, m, s in parts), max(m + 6 * s for _, m, s in parts)
        for _ in range(30):
            middle = (low + high) / 2
            below = sum(w * (1 + math.erf((middle - m) / s / math.sqrt(2))) / 2 for w, m, s in parts)
            low, high = (middle, high) if below < probability else (low, middle)
        return (low + high) / 2

    def scaled(self, unit: float) -> Mixture:
        """The same in other units."""
        return Mixture(self.weight, [unit * m for m in self.mean], [unit * s for s in self.sd])


LEAST_WEIGHT = 1e-4  # of a part of a mixture: less does not move a quantile


def mixture(found: Sequence[Outcome]) -> Mixture:
    """The outcomes by their weights."""
    import numpy as np

    score, mean, variance = np.array(found).T
    weight = np.exp(score - score.max())
    kept = weight >= LEAST_WEIGHT * weight.sum()
    sd = np.sqrt(np.maximum(variance[kept], LEAST_WEIGHT**2))
    return Mixture((weight[kept] / weight[kept].sum()).tolist(), mean[kept].tolist(), sd.tolist())
