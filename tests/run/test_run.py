"""One run: what a sequence of records makes of it."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from training_monitor.records import Facts, Failure, Finish, Pause, Severity, Start, Step, Validation
from training_monitor.run import Goals, Run, restore, state_of


def run_of(*records, at=None) -> Run:
    run = Run("r", "r.log")
    run.feed(records, at)
    return run


def steps(start, stop, loss=3.0, stride=1):
    return [Step(i, loss=loss, step_time_s=0.5) for i in range(start, stop, stride)]


CRASH = Failure("cuda_oom", "torch.OutOfMemoryError: CUDA out of memory.")


def test_nothing_read_is_waiting():
    assert run_of().state == "waiting"


def test_a_step_is_running_and_the_last_planned_one_is_finished():
    assert run_of(*steps(0, 5)).state == "running"
    assert run_of(Facts(total_steps=10), *steps(1, 11)).state == "finished"


def test_the_end_marker_finishes_and_further_steps_run_again():
    assert run_of(*steps(0, 5), Finish()).state == "finished"
    assert run_of(*steps(0, 5), Finish(), *steps(5, 7)).state == "running"


def test_a_fatal_error_is_a_crash_and_raises_one_event_for_the_chain():
    run = Run("r", "r.log")
    events = run.feed([*steps(0, 5), CRASH, Failure("sigterm", "x"), Failure("torchrun_failed", "y")])
    assert [(e.kind, e.severity, e.step) for e in events if e.kind == "crashed"] == [("crashed", Severity.CRITICAL, 4)]
    assert run.state == "crashed"
    assert run.snapshot(0).active["crashed"] is Severity.CRITICAL
    assert [f.kind for f in run.failures] == ["cuda_oom", "sigterm", "torchrun_failed"]


def test_lines_that_a_buffer_prints_after_the_traceback_do_not_revive_the_run():
    run = run_of(*steps(0, 5), CRASH, *steps(5, 56))
    assert run.state == "crashed"
    assert run.snapshot(0).step == 55


def test_many_steps_after_an_error_line_mean_that_the_run_lives():
    run = run_of(*steps(0, 5), CRASH, *steps(5, 100))
    assert run.state == "running"
    assert "crashed" not in run.snapshot(0).active


def test_a_stop_by_hand_is_no_crash():
    run = run_of(*steps(0, 5), Failure("keyboard_interrupt", "KeyboardInterrupt", fatal=False))
    assert run.state == "finished"
    assert run.snapshot(0).events == ()


def test_an_error_after_the_regular_end_is_no_crash():
    assert run_of(*steps(0, 5), Finish(), CRASH).state == "finished"


def test_a_restarted_process_ends_the_crash():
    run = run_of(*steps(0, 50), CRASH, Start(), Facts(resumed_from=40), *steps(40, 45))
    assert (run.state, run.restarts, run.runs) == ("running", 1, 1)


def test_a_second_run_in_the_same_log_starts_from_nothing_but_the_counters():
    run = run_of(*steps(0, 50, loss=2.0), CRASH, Start(), Facts(total_steps=7), *steps(0, 3, loss=9.0))
    seen = run.snapshot(0)
    assert (seen.runs, seen.steps_seen, seen.first_step, seen.best_loss, seen.total_steps) == (2, 3, 0, 9.0, 7)
    assert seen.events == ()
    assert seen.event_counts[("crashed", Severity.CRITICAL)] == 1


def test_header_facts_of_a_process_that_made_no_step_yet_wait_for_it():
    run = run_of(Facts(total_steps=100), *steps(0, 50), Start(), Facts(total_steps=7))
    assert run.snapshot(0).total_steps == 100


def test_ranks_that_repeat_a_step_are_counted_once_and_the_first_value_stands():
    run = run_of(Step(1, loss=2.0), Step(1, loss=9.0), Step(2, loss=2.1), Step(1, loss=8.0), Step(2, loss=7.0))
    seen = run.snapshot(0)
    assert (seen.step, seen.steps_seen, seen.loss, seen.restarts) == (2, 2, 2.1, 0)


def test_a_second_line_of_the_same_step_adds_its_fields():
    seen = run_of(Step(1, loss=2.0), Step(1, learning_rate=1e-3), Step(1, loss=5.0, grad_norm=0.5)).snapshot(0)
    assert (seen.loss, seen.learning_rate, seen.grad_norm) == (2.0, 1e-3, 0.5)


def test_a_validation_without_a_step_belongs_to_the_latest_one():
    seen = run_of(*steps(0, 5), Validation("loss", 2.5), Validation("accuracy", 0.3, step=2)).snapshot(0)
    assert (seen.validations["loss"].step, seen.validations["accuracy"].step) == (4, 2)


def test_the_second_source_of_a_run_adds_nothing_twice():
    run = Run("r", "r.log")
    run.feed(steps(0, 50), source="stdout")
    run.feed([s._replace(grad_norm=1.0) for s in steps(0, 50)], source="wandb")
    run.feed(steps(50, 60), source="stdout")
    run.feed([s._replace(grad_norm=2.0) for s in steps(50, 60)], source="wandb")
    seen = run.snapshot(0)
    assert (seen.step, seen.steps_seen, seen.restarts, seen.runs, seen.grad_norm) == (59, 60, 0, 1, 2.0)


def test_when_the_first_source_falls_silent_the_second_one_leads():
    run = Run("r", "r.log")
    run.feed(steps(0, 50), source="stdout")
    run.feed(steps(0, 80), source="wandb")
    assert (run.snapshot(0).step, run.snapshot(0).steps_seen) == (79, 80)


def test_mfu_is_computed_where_the_log_has_none_and_the_hardware_is_known():
    run = Run("r", "r.log")
    facts = Facts(gpu="NVIDIA H100 80GB HBM3", flops_per_token=4.945e9, world_size=8, tokens_scope="global")
    run.feed([facts, *(Step(i, loss=3.0, tokens_per_second=800_000.0) for i in range(3))])
    seen = run.snapshot(0)
    assert seen.mfu_source == "computed"
    assert seen.mfu_ratio == pytest.approx(800_000 * 4.945e9 / (8 * 989e12), rel=0.01)


def test_over_budget_warns_on_the_estimate_and_is_critical_once_spent():
    from training_monitor.estimate.estimator import EstimateSettings

    settings = EstimateSettings(usd_per_gpu_hour=3600.0, gpus=1, total_steps=1000)
    run = Run("r", "r.log", settings=settings, goals=Goals(budget=400.0))
    run.feed([*steps(0, 500)])
    assert [(e.kind, e.severity) for e in run.end()] == [("over_budget", Severity.WARNING)]
    run.feed([*steps(500, 900)])
    assert [(e.kind, e.severity) for e in run.end()] == [("over_budget", Severity.CRITICAL)]
    assert run.end() == []


RECORDS = st.lists(
    st.one_of(
        st.builds(Step, st.integers(0, 40), st.none() | st.floats(), grad_norm=st.none() | st.floats()),
        st.sampled_from(
            [Start(), Finish(), CRASH, Facts(total_steps=30), Pause("checkpoint"), Validation("loss", 1.0)]
        ),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(RECORDS, st.lists(st.integers(0, 12), max_size=12))
@example([Step(0), Step(1, step_time_s=1.0, time=0.0, total_steps=9), Step(2)], [2])  # the newest is not in the last
def test_batches_make_no_difference_and_a_saved_run_goes_on_as_if_nothing_had_happened(records, sizes):
    whole, split, rest = Run("r", "r.log"), Run("r", "r.log"), records
    whole.feed(records)
    for size in [*sizes, len(records)]:
        split.feed(rest[:size])
        rest = rest[size:]
        fresh = Run("r", "r.log")
        restore(fresh, json.loads(json.dumps(state_of(split))))
        split = fresh
    assert json.dumps(state_of(split)) == json.dumps(state_of(whole))
    split.snapshot(0)


def test_a_run_that_died_long_before_anybody_looked_pages_nobody_but_shows_its_state():
    run = run_of(*steps(0, 50), CRASH, at=1000.0)
    run.found(1000.0 + 3600)
    assert (run.state, run.snapshot(0).active) == ("crashed", {})
    silent = Run("r", "r.log")
    silent.heard(1000.0, 10)
    silent.feed(steps(0, 50), 1000.0)
    silent.found(1000.0 + 86400)
    assert (silent.state, silent.snapshot(0).active, silent.tick(1000.0 + 86401)) == ("stalled", {}, [])


def test_a_run_that_crashed_just_before_the_exporter_came_still_pages():
    run = run_of(*steps(0, 50), CRASH, at=1000.0)
    run.found(1000.0 + 60)
    assert run.snapshot(0).active == {"crashed": Severity.CRITICAL}


def test_steps_that_come_after_all_make_news_again():
    run = run_of(*steps(0, 50), CRASH, at=1000.0)
    run.found(1000.0 + 3600)
    run.feed([Start(), *steps(40, 60), CRASH], 5000.0)
    assert run.snapshot(0).active == {"crashed": Severity.CRITICAL}


def test_a_second_run_in_a_log_has_the_format_that_the_decoder_named_once():
    run = run_of(Facts(format="torchtitan", gpu="H100"), *steps(1, 11), Start(), *steps(1, 5))
    assert (run.runs, run.snapshot(0).facts.format, run.snapshot(0).facts.gpu) == (2, "torchtitan", None)


def test_mfu_is_not_computed_where_layers_differ_in_precision():
    facts = Facts(peak_flops=2.25e15, precision="mixed", parameters=1e9, world_size=8, tokens_scope="device")
    assert run_of(facts, Step(1, loss=3.0, tokens_per_second=9000.0)).snapshot(0).mfu_ratio is None


def test_an_open_spike_is_no_trend_towards_the_final_loss():
    def fed(*, spiky: bool) -> Run:
        losses = [2.0 + 8.0 * (i + 20) ** -0.35 for i in range(900)]
        spike = [loss * 1.6 for loss in losses[-12:]] if spiky else losses[-12:]
        run = run_of(Facts(total_steps=1600), *(Step(i, x) for i, x in enumerate([*losses[:-12], *spike])))
        run.estimate()
        return run

    calm, spiky = fed(spiky=False), fed(spiky=True)
    assert "loss_spike" in spiky.active()
    assert calm.final_loss is not None
    assert spiky.final_loss is not None
    assert spiky.final_loss.estimate == pytest.approx(calm.final_loss.estimate, rel=0.01)
