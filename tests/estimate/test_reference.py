"""The final loss, judged by a reference run."""

from __future__ import annotations

import numpy as np
import pytest

from training_monitor.estimate.baseline import Reference
from training_monitor.estimate.curve import Curve
from training_monitor.estimate.final_loss import final_loss
from training_monitor.records import Interval, Step, Steps

TOTAL = 8000


def run_of(
    total: int = TOTAL, *, batches: int = 1, level: float = 1.0, power: float = 0.45, every: int = 1
) -> list[Step]:
    """A run under a cosine whose batches, and with them its noise of 2 %, are those of the seed `batches`."""
    rate = 0.1 + 0.45 * (1 + np.cos(np.pi * np.arange(total) / total))
    loss = level * (2.2 + 18 * (50 + np.cumsum(rate)) ** -power + 0.09 * rate)
    loss *= 1 + 0.02 * np.random.default_rng(batches).normal(size=2 * TOTAL)[:total]
    return [Step(s, loss=float(loss[s]), learning_rate=float(rate[s])) for s in range(0, total, every)]


def curve_of(steps: list[Step]) -> Curve:
    curve = Curve()
    curve.update(Steps.of(steps))
    return curve


def estimate(steps: list[Step], part: float, reference: list[Step]) -> Interval:
    curve, total = curve_of(reference), steps[-1].step + 1
    seen = curve_of([s for s in steps if s.step < part * total])
    found = final_loss(seen.all_rows(), total, Reference("reference", curve.points(tail=True)))
    assert found is not None
    return found


def end_of(steps: list[Step]) -> float:
    last = [s.loss for s in steps[-len(steps) // 50 :] if s.loss is not None]
    return sum(last) / len(last)


@pytest.mark.parametrize("part", [0.25, 0.5, 0.75])
def test_a_run_on_the_same_batches_is_exact_to_a_thousandth_whatever_the_noise(part: float) -> None:
    steps, sister = run_of(level=1.004), run_of()
    found = estimate(steps, part, sister)
    assert found.estimate == pytest.approx(end_of(steps), rel=0.001)
    assert found.low < end_of(steps) < found.high
    assert found.high - found.low < 0.01 * found.estimate


@pytest.mark.parametrize("part", [0.25, 0.5, 0.75])
def test_other_batches_cost_the_noise_of_both_ends(part: float) -> None:
    errors, inside, widths = [], [], []
    for seed in range(20, 50):
        steps = run_of(batches=seed)
        found = estimate(steps, part, run_of(batches=seed + 100))
        errors.append(abs(found.estimate / end_of(steps) - 1))
        inside.append(found.low < end_of(steps) < found.high)
        widths.append((found.high - found.low) / found.estimate)
    assert np.median(errors) < 0.0025  # the mean of 160 losses with 2 % of noise is 0.16 % off, and so is the other one
    assert sum(inside) >= 25
    assert max(widths) < 0.03


def test_a_reference_a_little_shorter_is_corrected_for_its_length() -> None:
    steps, shorter = run_of(TOTAL), run_of(int(0.93 * TOTAL))
    found = estimate(steps, 0.5, shorter)
    assert found.estimate == pytest.approx(end_of(steps), rel=0.004)
    assert found.low < end_of(steps) < found.high


def test_another_configuration_gives_its_shape_and_a_wider_interval() -> None:
    steps, other = run_of(level=0.9), run_of(batches=7, power=0.5)
    found, sister = estimate(steps, 0.5, other), estimate(steps, 0.5, run_of(level=0.9))
    assert found.low < end_of(steps) < found.high
    assert found.estimate == pytest.approx(end_of(steps), rel=0.01)
    assert found.high - found.low > 2 * (sister.high - sister.low)


def test_a_reference_logged_more_rarely_is_as_good() -> None:
    steps = run_of()
    found = estimate(steps, 0.5, run_of(batches=3, every=10))
    assert found.estimate == pytest.approx(end_of(steps), rel=0.006)
    assert found.low < end_of(steps) < found.high


def test_a_reference_of_another_length_is_not_used() -> None:
    steps = run_of()
    seen = curve_of(steps[: TOTAL // 2]).all_rows()
    short = Reference("short", curve_of(steps[: TOTAL // 2]).points(tail=True))
    assert final_loss(seen, TOTAL, short) == final_loss(seen, TOTAL)
