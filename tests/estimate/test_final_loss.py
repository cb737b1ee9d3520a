"""The loss at the end of a run, from what is known before."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training_monitor.estimate.baseline import Reference
from training_monitor.estimate.columns import columns_of
from training_monitor.estimate.curve import Curve
from training_monitor.estimate.final_loss import final_loss
from training_monitor.estimate.schedule import futures
from training_monitor.records import Interval, Step

TOTAL = 8000


def cosine(t: float) -> float:
    return 0.1 + 0.45 * (1 + math.cos(math.pi * t))


def warm_down(t: float) -> float:
    return min(1.0, (1 - t) / 0.4)


def run_of(schedule: Callable[[float], float], seed: int = 1, noise: float = 0.01) -> list[Step]:
    """A run after the law of Tissue et al.: area under the learning rate and annealing."""
    rng, area, steps = random.Random(seed), 50.0, []
    for s in range(TOTAL):
        lr = schedule(s / TOTAL)
        area += lr
        loss = 2.2 + 18 * area**-0.45 + 0.09 * lr
        steps.append(Step(s, loss=loss * (1 + rng.gauss(0, noise)), learning_rate=6e-4 * lr))
    return steps


def curve_of(steps: list[Step]) -> Curve:
    curve = Curve()
    curve.update(columns_of(steps))
    return curve


def estimate(steps: list[Step], part: float, reference: Reference | None = None) -> Interval | None:
    return final_loss(curve_of(steps[: int(part * TOTAL)]).all_rows(), TOTAL, reference)


def end_of(steps: list[Step]) -> float:
    return sum(s.loss for s in steps[-100:]) / 100  # type: ignore[misc]


@pytest.mark.parametrize("schedule", [cosine, warm_down])
@pytest.mark.parametrize(("part", "error"), [(0.25, 0.05), (0.5, 0.02), (0.75, 0.012), (0.95, 0.006)])
def test_the_end_of_a_lawful_run_lies_in_the_interval(
    schedule: Callable[[float], float], part: float, error: float
) -> None:
    steps = run_of(schedule)
    found = estimate(steps, part)
    assert found is not None
    assert found.low < end_of(steps) < found.high
    assert found.estimate == pytest.approx(end_of(steps), rel=error)


def test_a_sister_run_as_reference_is_far_more_exact() -> None:
    steps, sister = run_of(cosine, seed=1), run_of(cosine, seed=2)
    reference = Reference("sister", curve_of(sister).points(tail=True))
    found, alone = estimate(steps, 0.5, reference), estimate(steps, 0.5)
    assert found is not None
    assert alone is not None
    assert found.estimate == pytest.approx(end_of(steps), rel=0.002)
    assert found.high - found.low < 0.5 * (alone.high - alone.low)


def test_a_reference_of_another_length_is_not_used() -> None:
    steps = run_of(cosine)
    short = Reference("short", curve_of(steps[:4000]).points(tail=True))
    assert estimate(steps, 0.5, short) == estimate(steps, 0.5)


def test_too_early_is_said_honestly() -> None:
    steps = run_of(cosine)
    assert estimate(steps, 0.1) is None
    assert final_loss([], TOTAL) is None


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


def test_a_schedule_under_way_is_continued() -> None:
    import numpy as np

    for schedule, end in ((cosine, 0.1), (warm_down, 0.0)):
        t = np.arange(0, 0.75, 0.01)
        found = futures(t * TOTAL, np.array([schedule(x) for x in t]), TOTAL)
        assert len(found) == 1
        assert found[0].end == pytest.approx(end, abs=0.02)


def test_a_constant_rate_may_stay_or_fall() -> None:
    import numpy as np

    found = futures(np.arange(100.0), np.ones(100), 400)
    assert sum(f.weight for f in found) == pytest.approx(1)
    assert max(f.end for f in found) == 1.0
    assert min(f.end for f in found) < 0.02


numbers = st.one_of(st.floats(), st.floats(0.1, 10), st.none())


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=60), st.integers(-1, 100), st.integers(1, 50))
def test_no_values_break_the_estimate(lines: list[tuple[float | None, float | None]], total: int, every: int) -> None:
    steps = [Step(i * every, loss=loss, learning_rate=lr) for i, (loss, lr) in enumerate(lines)]
    found = final_loss(curve_of(steps).all_rows(), total)
    assert found is None or (math.isfinite(found.estimate) and found.low <= found.estimate <= found.high)
