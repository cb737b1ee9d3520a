"""The pace of a run, its pauses, and where its wall time goes."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training_monitor.estimate.goodput import WallTime
from training_monitor.estimate.pace import Pace
from training_monitor.estimate.pauses import Pauses
from training_monitor.records import Step, Steps


def pace_of(times: list[float | None], every: int = 1, batch: int = 10_000) -> Pace:
    pace = Pace()
    steps = [Step(i * every, step_time_s=t) for i, t in enumerate(times)]
    for i in range(0, len(steps), batch):
        pace.update(Steps.of(steps[i : i + batch]))
    return pace


def test_the_pace_is_a_mean_that_counts_slow_steps_which_come_again() -> None:
    times = [2.0 if i % 10 == 9 else 1.0 for i in range(1, 2001)]
    assert pace_of(times).step_time_s == pytest.approx(1.1, rel=1e-3)


def test_the_first_line_is_compilation_and_does_not_count() -> None:
    pace = pace_of([60.0, 1.0, 1.0, 1.0])
    assert pace.step_time_s == 1.0
    assert pace.productive_s == 3.0
    assert pace.startup == 60.0


def test_a_slow_start_is_forgotten() -> None:
    assert pace_of([5.0] * 100 + [1.0] * 900).step_time_s == pytest.approx(1.0)


def test_a_new_level_counts_alone_once_it_has_held_for_two_blocks() -> None:
    before, soon, later = (pace_of([1.0] * 1001 + [2.0] * n).step_time_s for n in (0, 50, 100))
    assert before == 1.0
    assert soon is not None
    assert 1.0 < soon < 1.2
    assert later == 2.0


def test_lines_that_stand_for_several_steps_count_for_all_of_them() -> None:
    assert pace_of([1.0, 1.0, 1.0], every=100).productive_s == 200.0


def test_no_step_time_means_no_pace() -> None:
    assert pace_of([None] * 100).step_time_s is None
    assert pace_of([float("nan"), -1.0, float("inf")]).step_time_s is None


def test_a_resumed_process_starts_with_a_line_of_its_own() -> None:
    pace = pace_of([1.0] * 11)
    pace.resumed()
    pace.update(Steps.of([Step(5, step_time_s=60.0), Step(6, step_time_s=1.0)]))
    assert pace.productive_s == 11.0
    assert pace.startup == 61.0


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 90), max_size=12), st.integers(0, 9))
def test_the_split_into_batches_makes_no_difference(sizes: list[int], seed: int) -> None:
    rng = random.Random(seed)
    steps = [Step(i * 3, step_time_s=rng.choice([None, rng.random()])) for i in range(400)]
    whole, split = Pace(), Pace()
    whole.update(Steps.of(steps))
    i = 0
    for size in [*sizes, len(steps)]:
        if part := steps[i : i + size]:
            split.update(Steps.of(part))
        i += size
    assert split.state() == whole.state()
    assert split.step_time_s == whole.step_time_s


def test_a_restored_pace_is_the_same() -> None:
    pace = pace_of([0.1 * i for i in range(333)])
    again = Pace()
    again.restore(json.loads(json.dumps(pace.state())))
    assert again.step_time_s == pace.step_time_s
    assert again.productive_s == pace.productive_s


# -- pauses -----------------------------------------------------------------------------------------------------------


def test_pauses_to_come_follow_their_rhythm_up_to_the_end_of_the_run() -> None:
    pauses = Pauses()
    for step in (0, 250, 500):
        assert pauses.saw("evaluation", step)
        pauses.took("evaluation", 10.0)
    assert pauses.remaining_s(1600) == 50.0  # at 750, 1000, 1250, 1500 and the end
    assert pauses.remaining_s(500) == 0.0


def test_a_pause_told_twice_is_one_pause() -> None:
    pauses = Pauses()
    assert pauses.saw("evaluation", 250)
    assert not pauses.saw("evaluation", 250)
    assert not pauses.saw("startup", 0)


def test_pauses_that_came_together_share_their_time_by_what_they_cost_alone() -> None:
    pauses = Pauses()
    pauses.took("evaluation", 10.0)
    assert pauses.shares(["evaluation", "checkpoint"], 14.0) == {"evaluation": 10.0, "checkpoint": 4.0}
    assert pauses.shares(["checkpoint", "sampling"], 14.0) == {"checkpoint": 7.0, "sampling": 7.0}
    assert pauses.shares(["evaluation"], 12.0) == {"evaluation": 12.0}


# -- wall time --------------------------------------------------------------------------------------------------------


def test_wall_time_is_divided_by_what_the_log_mentions() -> None:
    wall, pauses = WallTime(), Pauses()
    wall.moment(1000.0, 0.0, pauses, has_step=False)
    wall.moment(1060.0, 0.0, pauses, has_step=True)  # a minute of start-up
    wall.moment(1160.0, 98.0, pauses, has_step=True)  # 98 s of steps
    wall.paused("evaluation", None)
    wall.moment(1180.0, 99.0, pauses, has_step=True)
    goodput = wall.goodput()
    assert goodput is not None
    assert goodput.wall_s == 180.0
    assert goodput.productive_s == 99.0
    assert goodput.lost == {"startup": 60.0, "evaluation": 19.0, "other": 2.0}
    assert goodput.ratio == 0.55


def test_steps_done_again_are_lost_work() -> None:
    wall, pauses = WallTime(), Pauses()
    wall.moment(0.0, 0.0, pauses, has_step=True)
    wall.moment(100.0, 100.0, pauses, has_step=True)
    wall.resumed(30, 1.0)
    wall.moment(110.0, 100.0, pauses, has_step=True)  # start-up of the new process
    goodput = wall.goodput()
    assert goodput is not None
    assert goodput.productive_s == 70.0
    assert goodput.lost == {"startup": 10.0, "rework": 30.0}


def test_one_moment_tells_nothing() -> None:
    wall = WallTime()
    wall.moment(5.0, 0.0, Pauses(), has_step=True)
    assert wall.goodput() is None


def test_a_clock_that_is_set_back_is_ignored() -> None:
    wall, pauses = WallTime(), Pauses()
    for at in (100.0, 200.0, 50.0, 201.0):
        wall.moment(at, 0.0, pauses, has_step=True)
    assert wall.elapsed_s == 101.0
