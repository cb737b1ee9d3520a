"""Regression with misfit, and what follows from several hypotheses."""

from __future__ import annotations

import numpy as np
import pytest

from training_monitor.estimate.noise import noise_of, without_spikes
from training_monitor.estimate.regression import Hypothesis, Mixture, Outcome, Points, mixture, outcomes


def line_of(noise: float, slope: float = 0.5) -> Points:
    x = np.linspace(0, 1, 50)
    y = 1 + slope * x + noise * np.random.default_rng(1).normal(size=50)
    return Points(x, y, np.full(50, noise**2), 2.0)


def line(x: np.ndarray, log_weight: float = 0.0) -> Hypothesis:
    return Hypothesis(log_weight, np.c_[np.ones_like(x), x], np.array([1.0, 2.0]), (0.0, 0.0), (10.0, 10.0))


def constant(x: np.ndarray, log_weight: float = 0.0) -> Hypothesis:
    nothing = np.zeros_like(x)
    return Hypothesis(log_weight, np.c_[np.ones_like(x), nothing], np.array([1.0, 0.0]), (0.0, 0.0), (10.0, 10.0))


def test_a_line_is_carried_on_with_the_uncertainty_of_least_squares() -> None:
    points = line_of(0.01)
    (found,) = outcomes(points, [line(points.x)], misfit=1e-6, length=1.0, trust=1.0)
    fit, covariance = np.polyfit(points.x, points.y, 1, cov="unscaled")
    assert found.mean == pytest.approx(np.polyval(fit, 2.0), abs=1e-4)
    assert found.variance == pytest.approx(1e-4 * np.array([2, 1]) @ covariance @ np.array([2, 1]), rel=0.01)


def test_misfit_widens_what_lies_far_ahead() -> None:
    points = line_of(0.01)
    exact, doubtful = (
        outcomes(points, [line(points.x)], misfit=m, length=1.0, trust=1.0)[0].variance for m in (1e-6, 0.05)
    )
    assert doubtful > exact + 0.05**2 / 2


def test_the_likelihood_chooses_between_hypotheses_as_far_as_it_is_trusted() -> None:
    points = line_of(0.01)
    hypotheses = [line(points.x), constant(points.x)]
    certain, doubtful = (
        mixture(outcomes(points, hypotheses, misfit=0.001, length=1.0, trust=trust)) for trust in (1.0, 0.0)
    )
    assert certain.weight == [1.0]
    assert doubtful.weight == pytest.approx([0.5, 0.5])


def test_the_size_of_the_misfit_is_that_of_the_points() -> None:
    points = line_of(0.01)
    wavy = points._replace(y=points.y + 0.1 * np.sin(9 * points.x))
    for y, size in ((points.y, 1e-4), (wavy.y, 0.1)):
        both = [
            outcomes(points._replace(y=y), [line(points.x)], misfit=m, length=1.0, trust=0.3)[0] for m in (1e-4, 0.1)
        ]
        likelier = max(both, key=lambda found: found.log_weight)
        assert likelier is both[(1e-4, 0.1).index(size)]


def test_quantiles_of_one_gaussian_are_those_of_the_tables() -> None:
    one = Mixture([1.0], [3.0], [2.0])
    assert one.quantile(0.5) == pytest.approx(3.0, abs=1e-6)
    assert one.quantile(0.95) == pytest.approx(3.0 + 2.0 * 1.6449, abs=1e-3)


def test_the_median_of_two_ways_lies_in_the_likelier_one_and_the_interval_holds_both() -> None:
    two = Mixture([0.7, 0.3], [1.0, 2.0], [0.05, 0.05])
    assert two.quantile(0.5) == pytest.approx(1.0, abs=0.05)
    assert two.quantile(0.05) < 1.0
    assert two.quantile(0.95) > 2.0


def test_equal_outcomes_weigh_by_their_evidence_alone() -> None:
    found = mixture([Outcome(0.0, 1.0, 0.01), Outcome(np.log(3.0), 2.0, 0.01), Outcome(-50.0, 9.0, 0.01)])
    assert found.weight == pytest.approx([0.25, 0.75])  # the third one is too unlikely to be kept
    assert found.scaled(2.0).mean == [2.0, 4.0]


def test_noise_is_measured_beside_a_trend() -> None:
    x = np.linspace(0, 1, 2000)
    loss = 3 - x**2 + 0.02 * np.random.default_rng(2).normal(size=2000)
    assert noise_of(loss) == pytest.approx(0.02, rel=0.05)


def test_a_spike_is_replaced_and_noise_is_not() -> None:
    loss = 3 + 0.02 * np.random.default_rng(3).normal(size=200)
    spiky = loss.copy()
    spiky[100] = 4.0
    changed = np.flatnonzero(without_spikes(spiky) != spiky)
    assert changed.tolist() == [100]
