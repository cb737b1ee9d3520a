"""The engine of a run: crashes, conditions judged elsewhere, order, restarts."""

from __future__ import annotations

import math

import pytest

from curves import between, curve
from training_monitor.detect.engine import Engine
from training_monitor.records import KINDS, Failure, Severity, Step

OOM = Failure("cuda_oom", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", time=17.0)


def test_a_crash_is_critical_and_names_its_cause() -> None:
    (event,) = Engine().failed(OOM, 41)
    assert (event.kind, event.severity, event.step, event.time) == ("crashed", Severity.CRITICAL, 41, 17.0)
    assert event.message.startswith("run crashed after step 41: cuda_oom: torch.OutOfMemoryError")


def test_a_crash_before_the_first_step_says_so() -> None:
    (event,) = Engine().failed(OOM, None)
    assert event.message.startswith("run crashed before the first step: cuda_oom")


def test_the_errors_that_follow_are_echoes_of_the_first() -> None:
    engine = Engine()
    assert len(engine.failed(OOM, 41)) == 1
    assert engine.failed(Failure("torchrun_failed", "ChildFailedError"), 41) == []
    assert engine.failed(Failure("sigterm", "signal 15"), 41) == []
    assert engine.active() == {"crashed": Severity.CRITICAL}


def test_an_error_that_is_not_fatal_is_no_crash() -> None:
    assert Engine().failed(Failure("keyboard_interrupt", "KeyboardInterrupt", fatal=False), 3) == []


def test_a_run_that_goes_on_may_crash_again() -> None:
    engine = Engine()
    engine.failed(OOM, 41)
    engine.resumed(40)
    assert engine.active() == {}
    assert len(engine.failed(OOM, 44)) == 1


def test_a_condition_judged_elsewhere_is_an_event_when_it_rises() -> None:
    engine = Engine()

    def observe(severity: Severity | None) -> list[Severity]:
        return [e.severity for e in engine.observe("over_budget", severity, 7, 120.0, 100.0, "…")]

    assert observe(Severity.WARNING) == [Severity.WARNING]
    assert observe(Severity.WARNING) == []
    assert observe(Severity.CRITICAL) == [Severity.CRITICAL]
    assert observe(Severity.WARNING) == []
    assert engine.active() == {"over_budget": Severity.WARNING}
    assert observe(None) == []
    assert engine.active() == {}


def test_events_come_in_the_order_of_steps_and_of_triage_within_one() -> None:
    steps = [
        s._replace(loss=math.nan if s.step == 800 else s.loss, grad_norm=20.0 if s.step in {800, 801} else 1.0)
        for s in curve(900, change=between(801, 805, 3.0), time=between(700, 900, 2.2))
    ]
    found = Engine().update(steps)
    assert [e.step for e in found] == sorted(e.step or 0 for e in found)
    at_800 = [KINDS.index(e.kind) for e in found if e.step == 800]
    assert len(at_800) == 2
    assert at_800 == sorted(at_800)


def test_an_event_carries_the_time_of_its_line() -> None:
    steps = [s._replace(time=1000.0 + s.step) for s in curve(600, change=between(500, 501, 3.0))]
    (event,) = Engine().update(steps)
    assert event.time == 1500.0


def test_two_detectors_of_one_kind_show_the_worse_severity() -> None:
    engine = Engine()
    engine.detectors["divergence"].conditions["loss_divergence"].rises(2)
    engine.detectors["swings"].conditions["loss_divergence"].rises(3)
    assert engine.active() == {"loss_divergence": Severity.CRITICAL}


def test_a_young_run_has_no_levels_yet() -> None:
    engine = Engine()
    engine.update([Step(0, 3.0, step_time_s=1.0, mfu_ratio=0.4, grad_norm=1.0)])
    levels = engine.levels()
    assert levels.loss_baseline is None
    assert levels.step_time_baseline is None
    assert levels.mfu_baseline is None
    assert levels.grad_norm_baseline is None


def test_the_state_of_other_detectors_is_refused() -> None:
    state = Engine().state()
    del state["detectors"]["swings"]
    with pytest.raises(ValueError, match="expected"):
        Engine().restore(state)
