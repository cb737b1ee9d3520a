"""Loss detectors on seeded curves and real logs: the exact step of each alarm, and silence elsewhere."""

from __future__ import annotations

import math
import random

import pytest

from curves import between, curve, events, nanochat, raised
from training_monitor.detect.engine import Engine
from training_monitor.records import Severity, Step

LOSS = ("loss_spike", "loss_divergence", "non_finite_loss", "plateau")


def of_the_loss(steps: list[Step], least: Severity = Severity.WARNING) -> list[tuple[int | None, str, str]]:
    return [e for e in raised(steps, least) if e[1] in LOSS]


def test_a_late_rise_by_a_quarter_is_a_warning_at_the_second_step() -> None:
    assert raised(curve(1500, change=between(1000, 1005, 1.24))) == [(1001, "loss_spike", "warning")]


def test_one_odd_step_is_a_notice_and_never_a_page() -> None:
    assert raised(curve(1500, change=between(1000, 1001, 1.9)), Severity.NOTICE) == [(1000, "loss_spike", "notice")]


def test_one_and_a_half_times_the_level_is_a_warning_when_it_holds_for_two_steps() -> None:
    found = raised(curve(1500, noise=0.1, change=between(1000, 1002, 1.8)))
    assert found == [(1001, "loss_spike", "warning")]


def test_twice_the_level_is_critical_at_once() -> None:
    assert raised(curve(1500, change=between(1000, 1001, 2.1))) == [(1000, "loss_spike", "critical")]


def test_a_ratio_counts_from_the_third_step_of_a_run_on() -> None:
    assert raised([Step(i, x) for i, x in enumerate((2.8, 2.8, 7.3))]) == [(2, "loss_spike", "critical")]


def test_a_rise_of_ten_percent_in_300_steps_is_found_before_it_is_half_there() -> None:
    ((step, kind, severity),) = raised(curve(1600, change=lambda i, y: y * (1 + 0.1 * min(max(i - 1000, 0) / 300, 1))))
    assert (kind, severity) == ("loss_divergence", "warning")
    assert step is not None
    assert 1000 < step <= 1150


def test_a_rise_that_a_falling_loss_hides_is_found() -> None:
    steps = curve(900, change=lambda i, y: y * (1 + 0.1 * min(max(i - 500, 0) / 300, 1)))
    assert [s for s, kind, _ in raised(steps) if kind == "loss_divergence"]
    losses = [s.loss for s in steps if s.loss]
    assert sum(losses[650:700]) < sum(losses[450:500]) * 1.02  # it has hardly risen


def test_a_drop_of_the_learning_rate_is_no_divergence_and_no_plateau() -> None:
    steps = curve(
        4000,
        noise=0.005,
        rate=lambda i: 3e-4 if i < 2000 else 3e-5,
        change=lambda i, y: y * (1 - 0.08 * (1 - math.exp(-max(i - 2000, 0) / 80))),
    )
    assert raised(steps) == []


def test_swings_out_of_all_proportion_are_found_although_they_hide_the_spikes() -> None:
    chance = random.Random(3)
    steps = curve(2500, change=lambda i, y: y if i < 1500 else y * math.exp(chance.gauss(0, 0.045)))
    swings = [e for e in events(steps) if "swings" in e.message]
    assert [(e.kind, e.severity.label) for e in swings] == [("loss_divergence", "warning")]
    assert swings[0].step is not None
    assert 1500 < swings[0].step < 1650


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_critical_at_the_same_step_once(value: float) -> None:
    steps = [s._replace(loss=value) if s.step >= 300 else s for s in curve(900)]
    assert raised(steps) == [(300, "non_finite_loss", "critical")]


def test_a_loss_of_zero_beside_a_gradient_norm_that_is_no_number_is_a_filtered_nan() -> None:
    steps = [s._replace(loss=0.0, grad_norm=math.nan) if s.step >= 300 else s for s in curve(400)]
    assert raised(steps) == [(300, "non_finite_loss", "critical")]


def test_a_collapse_to_exactly_zero_is_found_at_the_third_step() -> None:
    steps = [s._replace(loss=0.0) if s.step >= 300 else s for s in curve(400)]
    assert raised(steps) == [(302, "non_finite_loss", "critical")]


def test_losses_around_zero_are_not_compared() -> None:
    assert raised([Step(i, math.sin(i) / 10) for i in range(2000)]) == []


def test_the_loss_of_one_rank_with_its_odd_batches_pages_nobody() -> None:
    chance = random.Random(1)
    steps = curve(6000, noise=0.028, change=lambda i, y: y * (1.3 if chance.random() < 0.01 else 1))
    found = of_the_loss(steps, Severity.NOTICE)
    assert {severity for _, _, severity in found} == {"notice"}
    assert len(found) < 80


def test_on_the_loss_of_one_rank_a_rise_must_hold_for_some_steps() -> None:
    chance = random.Random(1)
    rise = between(4000, 4005, 1.24)
    steps = curve(4200, noise=0.028, change=lambda i, y: rise(i, y * (1.3 if chance.random() < 0.01 else 1)))
    ((step, kind, severity),) = of_the_loss(steps)
    assert (kind, severity) == ("loss_spike", "warning")
    assert step in {4002, 4003, 4004}


def test_the_recovered_loss_counts_where_the_log_is_smoothed() -> None:
    smoothed = 0.0
    steps = []
    for s in curve(1500, change=between(1000, 1006, 1.24)):
        assert s.loss is not None
        smoothed = 0.9 * smoothed + 0.1 * s.loss
        steps.append(s._replace(loss=smoothed / (1 - 0.9 ** (s.step + 1)), raw_loss=s.loss))
    assert raised(steps) == [(1001, "loss_spike", "warning")]


def test_steps_told_again_after_a_restart_are_no_rise() -> None:
    steps = curve(900)
    engine = Engine()
    found = engine.update(steps)
    engine.resumed(600)
    found += engine.update(steps[600:])
    assert [e for e in found if e.severity > Severity.NOTICE] == []


def test_missing_lines_are_no_rise() -> None:
    steps = [s for s in curve(3000) if not 1000 <= s.step < 1200 and not 400 <= s.step < 500]
    assert raised(steps) == []


@pytest.mark.parametrize("every", [1, 5, 10, 100])
def test_the_distance_of_logged_steps_makes_no_difference(every: int) -> None:
    steps = curve(1500, every=every, change=between(1000 * every, 1005 * every, 1.24))
    assert raised(steps) == [(1001 * every, "loss_spike", "warning")]


def test_a_gradient_norm_of_one_step_is_no_page_below_ten_times_its_level() -> None:
    def norms(*high: float) -> list[tuple[int | None, str, str]]:
        steps = [Step(i, grad_norm=1.0 + i % 3 / 10) for i in range(200)]
        return raised(steps + [Step(200 + i, grad_norm=x) for i, x in enumerate(high)], Severity.NOTICE)

    assert norms(4.0) == []
    assert norms(7.0) == [(200, "grad_norm_spike", "notice")]
    assert norms(7.0, 7.0) == [(200, "grad_norm_spike", "notice"), (201, "grad_norm_spike", "warning")]
    assert norms(14.0) == [(200, "grad_norm_spike", "warning")]
    assert norms(14.0, 14.0) == [(200, "grad_norm_spike", "warning"), (201, "grad_norm_spike", "critical")]


def test_a_gradient_norm_that_rises_with_the_loss_is_critical() -> None:
    steps = [s._replace(grad_norm=13.0 if s.step == 800 else 1.0) for s in curve(900, change=between(800, 801, 1.2))]
    assert (800, "grad_norm_spike", "critical") in raised(steps)


def test_skipped_fp16_steps_are_no_anomaly() -> None:
    assert raised([s._replace(grad_norm=math.inf if s.step % 50 == 0 else 1.0) for s in curve(900)]) == []


def test_nanochat_both_spikes_are_found_at_the_step_they_begin() -> None:
    found = of_the_loss(nanochat("base_train_spike"), Severity.NOTICE)
    assert found == [
        (466, "loss_spike", "notice"),
        (467, "loss_spike", "warning"),
        (476, "loss_spike", "critical"),
        (509, "loss_divergence", "warning"),
        (908, "loss_spike", "notice"),
        (909, "loss_spike", "warning"),
    ]


def test_nanochat_the_message_of_a_spike_says_the_numbers() -> None:
    first = next(e for e in events(nanochat("base_train_spike")) if e.kind == "loss_spike")
    assert first.message == "loss 8.179 at step 466 is 1.50x its recent level 5.454"
    assert first.value == pytest.approx(8.1788, abs=1e-3)


def test_nanochat_a_nan_is_critical_at_its_step_and_nothing_else_is_said_of_the_loss() -> None:
    assert of_the_loss(nanochat("base_train_nan")) == [(91, "non_finite_loss", "critical")]


@pytest.mark.parametrize(
    "log", ["ok", "mildslow", "slow", "crash", "resume", "pty"], ids=lambda name: f"base_train_{name}"
)
def test_nanochat_healthy_losses_raise_nothing(log: str) -> None:
    assert of_the_loss(nanochat(f"base_train_{log}")) == []


def test_nanochat_sft_losses_that_rise_by_smoothing_raise_nothing() -> None:
    assert of_the_loss(nanochat("chat_sft")) == []
