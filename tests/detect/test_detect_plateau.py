"""Plateaus: found where the trend stops, silent where it only slows down."""

from __future__ import annotations

import math

import pytest

from curves import curve, events, raised
from training_monitor.detect.engine import Engine
from training_monitor.detect.thresholds import Limits, Thresholds
from training_monitor.records import Severity


def healthy(step: float) -> float:
    return 2.0 + 8.0 * (step + 20) ** -0.35


def frozen(start: int) -> list[tuple[int | None, str, str]]:
    return raised(curve(4000, change=lambda i, y: y if i < start else y * healthy(start) / healthy(i)))


@pytest.mark.parametrize("start", [800, 1500])
def test_a_trend_that_stops_is_a_warning_after_500_steps_and_critical_after_1000(start: int) -> None:
    (warning, critical) = frozen(start)
    assert (warning[1], warning[2], critical[2]) == ("plateau", "warning", "critical")
    assert warning[0] is not None
    assert critical[0] is not None
    assert start + 400 < warning[0] < start + 1600
    assert 300 < critical[0] - warning[0] < 700


def test_healthy_late_training_is_silent_however_slowly_it_improves() -> None:
    steps = curve(20_000, noise=0.01)
    assert raised(steps) == []
    engine = Engine()
    engine.update(steps)
    since = engine.levels().steps_since_improvement
    assert since is not None
    assert since > 500  # the table taken literally would be in alarm


def test_a_step_up_in_the_data_is_no_plateau() -> None:
    steps = curve(6000, noise=0.008, change=lambda i, y: y * (1.02 if i >= 4000 else 1.0))
    assert [e for e in raised(steps) if e[1] == "plateau"] == []


def test_a_learning_rate_that_has_run_out_promises_nothing() -> None:
    steps = curve(
        5000,
        noise=0.006,
        rate=lambda i: 3e-4 * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(i / 4000, 1)))),
        change=lambda i, y: y if i < 3600 else y * healthy(3600) / healthy(i),
    )
    assert raised(steps) == []


def test_a_drop_of_the_learning_rate_that_changes_nothing_is_a_plateau() -> None:
    steps = curve(
        5000,
        rate=lambda i: 3e-4 if i < 2100 else 6e-5,
        change=lambda i, y: y if i < 2000 else y * healthy(2000) / healthy(i),
    )
    assert [kind for _, kind, _ in raised(steps)] == ["plateau", "plateau"]


def test_the_steps_of_the_table_can_be_set() -> None:
    steps = curve(4000, change=lambda i, y: y if i < 1500 else y * healthy(1500) / healthy(i))
    engine = Engine(Thresholds(plateau=Limits(1500, 2200)))
    found = [e for e in events(steps, engine) if e.severity >= Severity.WARNING]
    assert [e.kind for e in found] == ["plateau", "plateau"]
    assert "for 15" in found[0].message
    assert found[0].step is not None
    assert found[0].step > 2900


def test_the_message_says_for_how_long() -> None:
    steps = curve(4000, change=lambda i, y: y if i < 1500 else y * healthy(1500) / healthy(i))
    first = next(e for e in events(steps) if e.kind == "plateau")
    assert first.message.startswith(f"loss {first.value:.4g} at step {first.step} has not improved by 1% for ")
    assert first.message.endswith(" steps, less than its own trend promised")
