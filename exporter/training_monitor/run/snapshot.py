"""What a scrape or a report sees of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training_monitor.records import Snapshot

if TYPE_CHECKING:
    from training_monitor.run.run import Run


def snapshot_of(run: Run, now: float) -> Snapshot:
    """Everything that is known of `run` at unix time `now`."""
    order, estimator, state = run.order, run.estimator, run.state
    is_over = state == "finished"
    return Snapshot(
        run=run.name,
        source=run.source,
        state=state,
        facts=run.facts,
        runs=run.runs,
        restarts=run.restarts,
        step=order.last,
        first_step=order.first,
        steps_seen=order.steps_seen,
        total_steps=estimator.total_steps,
        progress_ratio=estimator.progress_ratio,
        **{name: value for name, value in run.shown.items() if name != "tflops"},
        best_loss=run.best_loss,
        validations=dict(run.validations),
        mfu_source=run.mfu_source,
        tokens_scope=run.facts.tokens_scope,
        levels=run.engine.levels(),
        loss_per_1000_steps=estimator.loss_per_1000_steps,
        mfu_relative_spread=estimator.mfu_relative_spread,
        remaining_s=0.0 if is_over else estimator.remaining_s,
        final_loss=run.final_loss,
        cost=estimator.cost(),
        goodput=estimator.goodput(),
        comparison=estimator.comparison(run.goals.reference),
        target_loss=run.goals.target_loss,
        curve=estimator.curve(),
        events=tuple(run.events),
        event_counts=dict(run.event_counts),
        active=run.active(),
        failures=tuple(run.failures),
        failure_counts=dict(run.failure_counts),
        last_step_time=run.last_step_time,
        last_change=run.last_change,
    )
