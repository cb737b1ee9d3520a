"""The estimates of a run as its user sees them."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from training_monitor.estimate.baseline import compared
from training_monitor.estimate.cost import cost_of
from training_monitor.estimate.estimator import EstimateSettings, Estimator
from training_monitor.estimate.trend import loss_per_1000_steps, mfu_relative_spread
from training_monitor.records import CurvePoint, Facts, Pause, Step

H100 = Facts(gpu="NVIDIA H100 80GB HBM3", world_size=8, flops_per_token=4.945112e9, tokens_scope="global")


def steps_of(n: int, first: int = 0, step_time: float | None = 0.5, **more: float) -> list[Step]:
    return [Step(s, loss=3 - s / 1000, step_time_s=step_time, **more) for s in range(first, first + n)]  # type: ignore[arg-type]


def estimator(n: int = 500, **settings: object) -> Estimator:
    found = Estimator(EstimateSettings(**{"total_steps": 1000, **settings}))  # type: ignore[arg-type]
    found.update(steps_of(n))
    return found


# -- time and money ---------------------------------------------------------------------------------------------------


def test_a_run_half_way_needs_as_long_again() -> None:
    e = estimator(500)
    assert e.progress_ratio == 0.5
    assert e.remaining_s == pytest.approx(250)


def test_a_run_that_counts_from_one_has_done_as_many_steps_as_its_latest_number() -> None:
    e = Estimator(EstimateSettings(total_steps=1000))
    e.update(steps_of(1000, first=1))
    assert e.remaining_s == 0.0
    assert e.progress_ratio == 1.0


def test_without_a_total_nothing_is_said_about_the_end() -> None:
    e = estimator(500, total_steps=None)
    assert e.remaining_s is None
    assert e.progress_ratio is None
    assert e.final_loss() is None


def test_the_total_follows_from_tokens_where_the_header_says_only_those() -> None:
    e = estimator(500, total_steps=None)
    e.learn(Facts(tokens_planned=1e9, tokens_per_step=5e5))
    assert e.total_steps == 2000


def test_remaining_time_counts_evaluations_to_come() -> None:
    e, at = Estimator(EstimateSettings(total_steps=1000)), 1e9
    e.wall(at, None)
    for first in range(0, 500, 100):
        if first:
            e.pause(Pause("evaluation", first))
        e.update(steps_of(1, first))
        at += 20.5  # an evaluation, or the start, and a step
        e.wall(at, e.last)
        e.update(steps_of(99, first + 1))
        at += 49.5
        e.wall(at, e.last)
    assert e.remaining_s == pytest.approx(250 + 6 * 20)  # at 500, 600 … 1000
    goodput = e.goodput()
    assert goodput is not None
    assert goodput.lost["evaluation"] == pytest.approx(80)


def test_lines_with_times_tell_pauses_and_stalls_without_anybody_watching() -> None:
    e = Estimator(EstimateSettings(total_steps=1000))
    e.update([s._replace(time=1e9 + s.step * 0.5) for s in steps_of(100)])
    e.pause(Pause("checkpoint"))
    e.update([s._replace(time=1e9 + 30 + s.step * 0.5) for s in steps_of(100, 100)])
    e.update([s._replace(time=1e9 + 630 + s.step * 0.5) for s in steps_of(100, 200)])
    goodput = e.goodput()
    assert goodput is not None
    assert goodput.lost == pytest.approx({"checkpoint": 30, "stall": 600})


def test_times_alone_are_enough_for_a_pace() -> None:
    e = Estimator(EstimateSettings(total_steps=1000))
    e.update([Step(s, loss=2.0, time=1e9 + 2.0 * s) for s in range(0, 500, 10)])
    assert e.remaining_s == pytest.approx(2 * 509)


def test_tokens_are_enough_for_a_pace() -> None:
    e = Estimator(EstimateSettings(total_steps=1000))
    e.learn(Facts(tokens_per_step=1000, tokens_scope="device", world_size=4))
    e.update([Step(s, loss=2.0, tokens_per_second=500.0) for s in range(500)])
    assert e.remaining_s == pytest.approx(0.5 * 500)


def test_cost_is_price_times_devices_times_hours() -> None:
    e = estimator(500, usd_per_gpu_hour=2.0, gpus=8)
    cost = e.cost()
    assert cost is not None
    assert cost.so_far == pytest.approx(16 * 250 / 3600)
    assert cost.estimated_total == pytest.approx(16 * 500 / 3600)
    assert cost_of(None, 1.0, 2.0, 8) is None
    assert cost_of(1.0, None, 2.0, 8).estimated_total is None  # type: ignore[union-attr]


def test_no_price_or_no_devices_means_no_cost() -> None:
    assert estimator(500).cost() is None
    assert estimator(500, usd_per_gpu_hour=2.0).cost() is None


# -- MFU --------------------------------------------------------------------------------------------------------------


def test_a_logged_mfu_is_taken_as_it_is() -> None:
    assert estimator().mfu_of(Step(1, mfu_ratio=0.5)) == (0.5, "logged")


def test_mfu_is_computed_from_what_the_header_says() -> None:
    e = estimator()
    e.learn(H100)
    mfu, source = e.mfu_of(Step(1, tokens_per_second=817_841.0))
    assert mfu == pytest.approx(0.5112, abs=5e-5)
    assert source == "computed"
    e.update(steps_of(100, 500, tokens_per_second=817_841.0))
    assert e.curve()[-1].mfu_ratio == pytest.approx(mfu)


def test_what_the_user_says_overrides_the_log() -> None:
    e = Estimator(EstimateSettings(gpu="A100", gpus=16))
    e.learn(H100)
    mfu, _ = e.mfu_of(Step(1, tokens_per_second=817_841.0))
    assert mfu == pytest.approx(817_841 * 4.945112e9 / 16 / 312e12)
    fp8 = Estimator(EstimateSettings(precision="fp8"))
    fp8.learn(H100)
    assert fp8.mfu_of(Step(1, tflops=500.0)) == (pytest.approx(500 / 1979), "computed")


def test_an_unknown_device_has_no_mfu() -> None:
    e = estimator()
    e.learn(Facts(gpu="NVIDIA GeForce RTX 4070", world_size=1, flops_per_token=1e9, tokens_scope="global"))
    assert e.mfu_of(Step(1, tokens_per_second=1000.0)) == (None, None)


# -- trend and comparison ---------------------------------------------------------------------------------------------


def test_the_slope_of_the_loss_is_robust() -> None:
    points = [CurvePoint(s, 3 - s / 1000) for s in range(0, 2000, 50)]
    points[-3] = CurvePoint(points[-3].step, 50.0)
    assert loss_per_1000_steps(points) == pytest.approx(-1)
    assert loss_per_1000_steps(points[:4]) is None


def test_the_spread_of_the_mfu_is_relative() -> None:
    points = [CurvePoint(s, None, None, 0.4 + 0.004 * (-1) ** s) for s in range(20)]
    assert mfu_relative_spread(points) == pytest.approx(2 * 0.01 / 1.349, rel=0.01)


def test_a_better_run_is_ahead_of_its_baseline() -> None:
    baseline = estimator(1000).reference("july")
    better = Estimator()
    better.update([s._replace(loss=s.loss - 0.1) for s in steps_of(600)])  # type: ignore[operator]
    both = better.comparison(baseline)
    assert both is not None
    assert both.step == 599
    assert both.loss == pytest.approx(both.baseline_loss - 0.1, abs=0.005)  # type: ignore[operator]
    assert both.steps_ahead == pytest.approx(100, abs=10)
    assert both.step_time_s == both.baseline_step_time_s == 0.5


def test_beyond_the_end_of_the_baseline_there_is_nothing_to_compare() -> None:
    baseline = estimator(500).reference("july")
    assert estimator(900).comparison(baseline) is None
    assert estimator(400).comparison(None) is None
    assert compared([], baseline) is None


# -- resumes, splits, state -------------------------------------------------------------------------------------------


def test_a_resumed_run_goes_on_from_where_it_resumed() -> None:
    e = estimator(500)
    e.resumed(300)
    e.update(steps_of(10, 300))
    assert [p.step for p in e.curve()][-1] < 310
    assert e.remaining_s == pytest.approx(0.5 * 690)


records = st.lists(
    st.one_of(
        st.integers(1, 40),
        st.sampled_from(["evaluation", "checkpoint", "startup", "resumed", "facts", "resumed nowhere"]),
        st.floats(0, 1e4),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=60)
@given(records, st.integers(0, 5), st.integers(0, 2))
@example([2112.0, 39, "evaluation", 12], 1, 1)  # seen to grow before the lines tell an earlier time
@example(["startup", 2, "checkpoint", 2], 0, 1)  # only the first line after a pause stands for the pause as well
def test_splits_and_restarts_make_no_difference(script: list[int | str | float], seed: int, clock: int) -> None:
    whole, split = Estimator(), Estimator()
    rng, step, now = random.Random(seed), 0, 1e9
    for item in script:
        if isinstance(item, int):
            batch = []
            for _ in range(item):
                step, now = step + rng.choice([1, 1, 1, 7]), now + rng.choice([0.5, 0.5, 100.0])
                time = now if clock == 1 or (clock == 2 and rng.random() < 0.5) else None
                batch.append(Step(step, rng.random(), step_time_s=rng.choice([None, 0.5]), time=time))
            whole.update(batch)
            cut = rng.randrange(len(batch) + 1)
            split.update(batch[:cut])
            split.update(batch[cut:])
        for e in (whole, split):
            if isinstance(item, float):
                e.wall(now + item, e.last)
            elif item == "resumed":
                e.resumed(max(0, step - 20))
            elif item == "resumed nowhere":
                e.resumed(None)
            elif item == "facts":
                e.learn(Facts(total_steps=5000, tokens_per_step=100))
            elif isinstance(item, str):
                e.pause(Pause(item))  # type: ignore[arg-type]
        step = max(0, step - 20) if item == "resumed" else step
        again = Estimator()
        again.restore(json.loads(json.dumps(split.state())))
        split = again
    assert split.state() == whole.state()
    assert split.remaining_s == whole.remaining_s
    assert split.goodput() == whole.goodput()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 50) | st.integers(), st.floats(), st.floats(), st.floats()), max_size=40))
def test_no_values_break_an_estimate(lines: list[tuple[int, float, float, float]]) -> None:
    e = Estimator(EstimateSettings(total_steps=60, usd_per_gpu_hour=1.0, gpus=1))
    for s, loss, dt, mfu in lines:
        e.update([Step(s, loss=loss, step_time_s=dt, mfu_ratio=mfu)])
    for value in (e.remaining_s, e.elapsed_s, e.loss_per_1000_steps, e.mfu_relative_spread):
        assert value is None or math.isfinite(value)
    e.final_loss()
    e.comparison(e.reference("self"))
