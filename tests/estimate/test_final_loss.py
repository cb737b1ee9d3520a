"""The loss at the end of a run, from what is known before."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training_monitor.estimate.curve import Curve
from training_monitor.estimate.final_loss import final_loss
from training_monitor.records import Interval, Step, Steps

TOTAL = 8000


def cosine(t: float) -> float:
    return 0.1 + 0.45 * (1 + math.cos(math.pi * t))


def warm_down(t: float) -> float:
    return min(1.0, (1 - t) / 0.4)


def late_decay(t: float) -> float:
    return min(1.0, (1 - t) / 0.1)


def constant(_: float) -> float:
    return 1.0


class Law(NamedTuple):
    """L = level + gain · area^-power + win · rate, with relative noise."""

    level: float = 2.2
    gain: float = 18.0
    power: float = 0.45
    win: float = 0.09
    noise: float = 0.01


def run_of(schedule: Callable[[float], float], seed: int = 1, law: Law | None = None) -> list[Step]:
    law = law or Law()
    rate = np.array([schedule(s / TOTAL) for s in range(TOTAL)])
    loss = law.level + law.gain * (50 + np.cumsum(rate)) ** -law.power + law.win * rate
    loss *= 1 + law.noise * np.random.default_rng(seed).normal(size=TOTAL)
    rows = zip(loss.tolist(), (6e-4 * rate).tolist(), strict=True)
    return [Step(s, loss=x, learning_rate=lr) for s, (x, lr) in enumerate(rows)]


def any_law(seed: int) -> Law:
    rng = np.random.default_rng(1000 + seed)
    return Law(*rng.uniform((1.5, 8.0, 0.35, 0.05, 0.004), (3.0, 25.0, 0.6, 0.13, 0.03)))


def curve_of(steps: list[Step]) -> Curve:
    curve = Curve()
    curve.update(Steps.of(steps))
    return curve


def estimate(steps: list[Step], part: float) -> Interval | None:
    return final_loss(curve_of(steps[: int(part * TOTAL)]).all_rows(), TOTAL)


def end_of(steps: list[Step]) -> float:
    last = [s.loss for s in steps[-TOTAL // 50 :] if s.loss is not None]
    return sum(last) / len(last)


@pytest.mark.parametrize("schedule", [cosine, warm_down])
@pytest.mark.parametrize(
    ("part", "error", "width"), [(0.25, 0.02, 0.05), (0.5, 0.015, 0.04), (0.75, 0.008, 0.02), (0.95, 0.005, 0.015)]
)
def test_the_end_of_a_lawful_run_lies_in_the_interval(
    schedule: Callable[[float], float], part: float, error: float, width: float
) -> None:
    steps = run_of(schedule)
    found = estimate(steps, part)
    assert found is not None
    assert found.low < end_of(steps) < found.high
    assert found.estimate == pytest.approx(end_of(steps), rel=error)
    assert (found.high - found.low) / 2 < width * found.estimate


@pytest.mark.parametrize(("part", "error"), [(0.25, 0.015), (0.5, 0.006), (0.75, 0.004)])
def test_over_many_laws_the_error_is_small_and_the_interval_holds_nine_in_ten(part: float, error: float) -> None:
    errors, inside = [], []
    for seed in range(20):
        steps = run_of((cosine, warm_down)[seed % 2], seed, any_law(seed))
        found = estimate(steps, part)
        if found is not None:
            errors.append(abs(found.estimate / end_of(steps) - 1))
            inside.append(found.low < end_of(steps) < found.high)
    assert len(errors) >= 15
    assert np.median(errors) < error
    assert sum(inside) >= 0.85 * len(inside)


@pytest.mark.parametrize("schedule", [constant, late_decay])
def test_the_interval_holds_both_a_rate_that_stays_and_one_that_falls(schedule: Callable[[float], float]) -> None:
    steps = run_of(schedule)
    found = estimate(steps, 0.75)  # the same for both: nobody can know
    assert found is not None
    assert found == estimate(run_of(constant), 0.75)
    assert found.low < end_of(steps) < found.high


def test_a_noisier_end_widens_the_interval() -> None:
    calm, noisy = (estimate(run_of(cosine, law=Law(noise=noise)), 0.9) for noise in (0.002, 0.1))
    assert calm is not None
    assert noisy is not None
    assert noisy.high - noisy.low > 1.5 * (calm.high - calm.low)


def test_a_run_that_follows_no_law_has_a_wider_interval() -> None:
    steps = run_of(cosine)
    wavy = [s._replace(loss=s.loss * (1 + 0.03 * math.sin(s.step / 400))) for s in steps if s.loss is not None]
    lawful, other = (estimate(x, 0.75) for x in (steps, wavy))
    assert lawful is not None
    assert other is not None
    assert other.high - other.low > 2 * (lawful.high - lawful.low)


def test_without_a_learning_rate_the_law_goes_by_steps() -> None:
    steps = [s._replace(learning_rate=None) for s in run_of(constant)]
    found = estimate(steps, 0.5)
    assert found is not None
    assert found.low < end_of(steps) < found.high


def test_too_early_is_said_honestly() -> None:
    steps = run_of(cosine)
    assert estimate(steps, 0.1) is None
    assert final_loss([], TOTAL) is None


def test_a_first_descent_is_too_early() -> None:
    steps = [s._replace(loss=11 - 8 * min(1.0, s.step / 3000)) for s in run_of(cosine)]
    assert estimate(steps, 0.3) is None
    assert estimate(steps, 0.95) is not None


def test_a_loss_that_is_not_a_number_has_no_final_value() -> None:
    steps = run_of(cosine)[:4000]
    steps[3500:] = [s._replace(loss=math.nan) for s in steps[3500:]]
    assert final_loss(curve_of(steps).all_rows(), TOTAL) is None


def test_a_spike_does_not_move_the_estimate() -> None:
    steps = run_of(cosine)[:4000]
    spiky = [s._replace(loss=9.0) if 3000 <= s.step < 3030 else s for s in steps]
    a, b = (final_loss(curve_of(x).all_rows(), TOTAL) for x in (steps, spiky))
    assert a is not None
    assert b is not None
    assert b.estimate == pytest.approx(a.estimate, rel=0.003)


numbers = st.one_of(st.floats(), st.floats(0.1, 10), st.none())


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=60), st.integers(-1, 100), st.integers(1, 50))
def test_no_values_break_the_estimate(lines: list[tuple[float | None, float | None]], total: int, every: int) -> None:
    steps = [Step(i * every, loss=loss, learning_rate=lr) for i, (loss, lr) in enumerate(lines)]
    found = final_loss(curve_of(steps).all_rows(), total)
    assert found is None or (math.isfinite(found.estimate) and found.low <= found.estimate <= found.high)
