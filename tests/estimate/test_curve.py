"""The curve of a run stays small, stable and independent of how the steps came."""

from __future__ import annotations

import json
import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from training_monitor.estimate.columns import middle
from training_monitor.estimate.curve import Curve
from training_monitor.records import Step, Steps


def steps_of(n: int, every: int = 1, first: int = 0) -> list[Step]:
    return [
        Step(s, loss=3 + 1 / (1 + s), mfu_ratio=0.4, step_time_s=0.5) for s in range(first, first + n * every, every)
    ]


def curve_of(steps: list[Step], batch: int = 10_000) -> Curve:
    curve = Curve()
    for i in range(0, len(steps), batch):
        curve.update(Steps.of(steps[i : i + batch]))
    return curve


def test_a_short_run_keeps_every_step() -> None:
    points = curve_of(steps_of(50)).points()
    assert [p.step for p in points] == list(range(50))
    assert points[0] == (0, 4.0, 0.5, 0.4)


def test_a_long_run_has_a_bounded_number_of_points_at_multiples_of_a_power_of_two() -> None:
    curve = curve_of(steps_of(100_000))
    points = curve.points()
    assert 90 < len(points) <= 200
    assert curve.stride == 512
    assert all((p.step + 1) % 512 == 0 for p in points)


def test_points_stay_where_they_are_while_the_run_goes_on() -> None:
    early, late = (curve_of(steps_of(n)).points() for n in (1400, 1450))
    assert late[: len(early)] == early


def test_coarser_points_are_a_subset_of_finer_ones() -> None:
    fine, coarse = ({p.step for p in curve_of(steps_of(n)).points()} for n in (200, 300))
    assert {s for s in coarse if s < 199} <= fine


def test_a_log_line_every_hundred_steps_is_as_good() -> None:
    points = curve_of(steps_of(1000, every=100)).points()
    assert 90 < len(points) <= 200
    assert all(p.step % 100 == 0 for p in points)


def test_one_odd_step_does_not_move_a_point() -> None:
    steps = steps_of(5000, first=1000)
    odd = [s._replace(loss=1000.0) if s.step == 3000 else s for s in steps]
    worst = max(
        abs(a.loss - b.loss)  # type: ignore[operator]
        for a, b in zip(curve_of(steps).points(), curve_of(odd).points(), strict=True)
    )
    assert worst < 1e-3


def test_what_is_not_a_number_is_left_out() -> None:
    assert middle([None, math.nan, math.inf, 2.0]) == 2.0
    assert middle([math.nan]) is None
    curve = curve_of([Step(s, loss=math.nan) for s in range(300)])
    assert all(p.loss is None for p in curve.points())


def test_a_resumed_run_replaces_the_steps_that_it_repeats() -> None:
    curve = curve_of(steps_of(150))
    curve.rewind(100)
    curve.update(Steps.of([Step(s, loss=9.0) for s in range(100, 120)]))
    points = curve.points()
    assert [p.step for p in points] == list(range(120))
    assert points[-1].loss == 9.0


def test_the_unfinished_stretch_is_shown_only_on_request() -> None:
    curve = curve_of(steps_of(450))  # stride 4: 448, 449 are unfinished
    assert curve.points()[-1].step == 447
    assert curve.points(tail=True)[-1].step == 449


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 400), max_size=30), st.integers(1, 5), st.integers(0, 9))
def test_the_split_into_batches_makes_no_difference(sizes: list[int], every: int, seed: int) -> None:
    rng = random.Random(seed)
    steps = [Step(s, loss=rng.random(), learning_rate=rng.random()) for s in range(0, 1500 * every, every)]
    whole, split = curve_of(steps), Curve()
    i = 0
    for size in [*sizes, len(steps)]:
        if part := steps[i : i + size]:
            split.update(Steps.of(part))
        i += size
    assert split.state() == whole.state()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 900))
def test_a_restored_curve_goes_on_as_if_nothing_had_happened(cut: int) -> None:
    steps = steps_of(900, every=3)
    whole, first = curve_of(steps), curve_of(steps[:cut])
    second = Curve()
    second.restore(json.loads(json.dumps(first.state())))
    if cut < 900:
        second.update(Steps.of(steps[cut:]))
    assert second.state() == whole.state()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 500), st.floats()), min_size=1, max_size=300))
def test_no_order_of_steps_breaks_it(lines: list[tuple[int, float]]) -> None:
    curve = curve_of([Step(s, loss=x) for s, x in lines], batch=7)
    assert len(curve.points(tail=True)) <= 201
