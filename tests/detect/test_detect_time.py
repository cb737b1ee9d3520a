"""Step time and MFU: level shifts with their step, and what is no slowdown."""

from __future__ import annotations

import random

import pytest

from curves import Change, between, curve, nanochat, raised
from training_monitor.detect.engine import Engine
from training_monitor.records import Facts, Severity, Step

ALL = Severity.NOTICE


def without_mfu(steps: list[Step]) -> list[Step]:
    return [s._replace(mfu_ratio=None) for s in steps]


@pytest.mark.parametrize(
    ("drop", "expected"),
    [
        (0.05, [(1015, "mfu_drop", "notice")]),
        (0.15, [(1004, "mfu_drop", "notice"), (1005, "mfu_drop", "warning")]),
        (0.30, [(1004, "mfu_drop", "notice"), (1005, "mfu_drop", "critical")]),
    ],
)
def test_a_held_drop_of_mfu(drop: float, expected: list[tuple[int, str, str]]) -> None:
    assert raised(curve(1400, time=between(1000, 1400, 1 / (1 - drop))), ALL) == expected


@pytest.mark.parametrize(("factor", "severity"), [(1.5, "warning"), (2.0, "critical")])
def test_a_held_slowdown_pages_at_the_sixth_step(factor: float, severity: str) -> None:
    steps = without_mfu(curve(1100, time=between(1000, 1100, factor)))
    assert raised(steps) == [(1005, "slowdown", severity)]


def test_a_slow_drift_is_found_on_its_way() -> None:
    steps = curve(2000, time=lambda i, x: x / (1 - 0.15 * min(max(i - 800, 0) / 1000, 1)))
    (notice, warning) = raised(steps, ALL)
    assert notice[1:] == ("mfu_drop", "notice")
    assert warning[1:] == ("mfu_drop", "warning")
    assert notice[0] is not None
    assert 1000 < notice[0] < 1150


def pauses(every: int, factor: float) -> Change:
    return lambda i, x: x * factor if i and i % every == 0 else x


@pytest.mark.parametrize(
    "time",
    [
        pauses(25, 4),
        pauses(100, 8),
        pauses(1000, 20),
        between(0, 10, 30),
        between(1000, 1001, 50),
        between(1000, 1002, 6),
    ],
    ids=["each 25", "each 100", "each 1000", "slow start", "one step", "two steps"],
)
def test_pauses_slow_starts_and_single_steps_are_silent(time: Change) -> None:
    assert raised(curve(3000, time=time), ALL) == []
    assert raised(without_mfu(curve(3000, time=time)), ALL) == []


def test_a_burst_of_five_slow_steps_is_a_notice() -> None:
    assert raised(without_mfu(curve(1100, time=between(1000, 1005, 2.0))), ALL) == [(1004, "slowdown", "notice")]


def test_single_slow_steps_at_random_page_nobody() -> None:
    chance = random.Random(2)
    assert raised(curve(6000, time=lambda i, x: x * (5 if chance.random() < 0.01 else 1))) == []


def test_a_recovery_closes_and_the_next_slowdown_pages_again() -> None:
    twice = curve(2000, time=lambda i, x: x * (1.6 if 800 <= i < 900 or 1300 <= i < 1400 else 1))
    assert [s for s, kind, _ in raised(twice) if kind == "slowdown"] == [805, 1305]


def test_the_baseline_follows_an_improvement() -> None:
    steps = without_mfu(curve(2000, time=lambda i, x: x * (1.6 if i < 500 else 1.6 if i >= 1500 else 1.0)))
    assert raised(steps) == [(1505, "slowdown", "warning")]


def test_a_bigger_batch_is_one_notice_and_no_slowdown() -> None:
    steps = [
        s._replace(mfu_ratio=None, tokens_per_second=(524288 if s.step < 1000 else 1048576) / (s.step_time_s or 1))
        for s in curve(2500, time=lambda i, x: x * (2.0 if i >= 1000 else 1.0) * (1.6 if i >= 2000 else 1.0))
    ]
    found = raised(steps, ALL)
    assert found == [(1004, "slowdown", "notice"), (2004, "slowdown", "notice"), (2005, "slowdown", "warning")]


def test_a_smoothed_rate_says_nothing_about_the_work_of_a_step() -> None:
    rate, steps = 1000.0, []
    for s in without_mfu(curve(1100, time=between(1000, 1100, 1.6))):
        rate += (1000 / (s.step_time_s or 1) - rate) / 20
        steps.append(s._replace(tokens_per_second=rate))
    assert raised(steps) == [(1005, "slowdown", "warning")]


def test_other_hardware_after_a_resume_makes_a_new_baseline_with_one_notice() -> None:
    engine = Engine()
    engine.learn(Facts(gpu="NVIDIA H100 80GB HBM3", world_size=8))
    steps = without_mfu(curve(1200, time=between(600, 1200, 3.0)))
    found = engine.update(steps[:600])
    engine.learn(Facts(gpu="NVIDIA A100-SXM4-80GB", world_size=8))
    engine.resumed(600)
    found += engine.update(steps[600:])
    (notice,) = found
    assert (notice.kind, notice.severity) == ("slowdown", Severity.NOTICE)
    assert notice.message == "a step takes 3 s on this hardware, 3.01x as long as before (0.996 s)"


def test_the_same_hardware_that_is_slower_after_a_resume_pages() -> None:
    engine = Engine()
    engine.learn(Facts(gpu="NVIDIA H100 80GB HBM3", world_size=8))
    steps = without_mfu(curve(1200, time=between(600, 1200, 3.0)))
    engine.update(steps[:600])
    engine.learn(Facts(gpu="NVIDIA H100 80GB HBM3", world_size=8))
    engine.resumed(600)
    assert [(e.step, e.severity.label) for e in engine.update(steps[600:])][-1] == (615, "critical")


def test_flops_stand_for_a_missing_mfu() -> None:
    steps = [
        s._replace(mfu_ratio=None, tflops=400 / (s.step_time_s or 1)) for s in curve(900, time=between(700, 900, 1.3))
    ]
    found = [e for e in Engine().update(steps) if e.kind == "mfu_drop"]
    assert [(e.step, e.severity.label) for e in found] == [(704, "notice"), (705, "warning")]
    assert found[-1].message == "314.7 TFLOP/s at step 705 is 22% below its baseline 401.6 TFLOP/s"


def test_nanochat_both_slow_phases_are_found_and_nothing_else() -> None:
    assert raised(nanochat("base_train_slow")) == [(228, "slowdown", "critical"), (366, "slowdown", "critical")]


@pytest.mark.parametrize("log", ["base_train_crash", "base_train_pty"])
def test_nanochat_a_quiet_machine_raises_nothing(log: str) -> None:
    assert raised(nanochat(log)) == []


def test_the_levels_tell_baseline_and_recent_values() -> None:
    engine = Engine()
    engine.update(curve(600, time=between(580, 600, 1.5)))
    levels = engine.levels()
    assert levels.step_time_baseline == pytest.approx(1.0, rel=0.01)
    assert levels.step_time_recent == pytest.approx(1.5, rel=0.02)
    assert levels.mfu_baseline == pytest.approx(0.4, rel=0.01)
    assert levels.mfu_recent == pytest.approx(0.267, rel=0.02)
