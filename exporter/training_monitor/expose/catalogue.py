"""Every metric this exporter shows, as data: the only place with metric names.

Prefix `training_` with label `run` for what is told about a run, `training_monitor_` for the exporter itself. Base
units: seconds, bytes, ratios 0 to 1. None: the log does not say, so there is no sample; NaN is what the log did say.
Series of counters and flags exist from the first scrape, at 0.

`python -m training_monitor.expose.catalogue` prints the table of docs/metrics.md.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

from training_monitor import __version__
from training_monitor.expose import readers
from training_monitor.expose.metric import Metric
from training_monitor.expose.view import View
from training_monitor.records import STATES, Snapshot, SourceStatus

#: About one run; label `run`.
RUN: tuple[Metric[Snapshot], ...] = (
    Metric(
        "training_run_info",
        "What the log says about the run; always 1. Empty labels: the log does not say.",
        readers.run_info,
        labels=(
            "format",
            "gpu",
            "precision",
            "world_size",
            "parameters",
            "source",
            "loss_kind",
            "mfu_source",
            "tokens_scope",
            "step_inferred",
        ),
        type="info",
    ),
    Metric(
        "training_run_state",
        "1 for the state the run is in, 0 for the others: " + ", ".join(STATES) + ".",
        lambda s: [((state,), s.state == state) for state in STATES],
        labels=("state",),
    ),
    Metric(
        "training_runs_total",
        "Runs seen in this source so far; only the last is shown.",
        lambda s: s.runs,
        type="counter",
    ),
    Metric(
        "training_restarts_total",
        "Times that the run resumed: its step went back or a new process went on.",
        lambda s: s.restarts,
        type="counter",
    ),
    Metric("training_step", "Latest step that the log shows.", lambda s: s.step, unit="steps"),
    Metric(
        "training_first_step",
        "First step of the run in this log; above 0 where the run was resumed from a checkpoint.",
        lambda s: s.first_step,
        unit="steps",
    ),
    Metric("training_steps_planned", "Steps that the run is to take.", lambda s: s.total_steps, unit="steps"),
    Metric(
        "training_progress_ratio",
        "Part of the planned training that is done, 0 to 1.",
        lambda s: s.progress_ratio,
        unit="ratio",
    ),
    Metric("training_epoch", "Passes over the training data, as the log shows it.", lambda s: s.epoch),
    Metric(
        "training_loss",
        "Training loss as the log shows it, nats per token; loss_kind of training_run_info says how it is smoothed.",
        lambda s: s.loss,
        unit="nats per token",
    ),
    Metric(
        "training_loss_raw",
        "The latest step's own loss, nats per token, where the log smooths it and it can be recovered.",
        lambda s: s.raw_loss,
        unit="nats per token",
    ),
    Metric(
        "training_best_loss",
        "Lowest training loss of the run so far, as the log shows it.",
        lambda s: s.best_loss,
        unit="nats per token",
    ),
    Metric(
        "training_loss_baseline",
        "Recent level of the loss that the step's loss is compared with: a robust average over steps, not over time.",
        readers.level(lambda x: x.loss_baseline),
        unit="nats per token",
    ),
    Metric(
        "training_target_loss",
        "Loss that the user wants to reach, from the configuration.",
        lambda s: s.target_loss,
        unit="nats per token",
    ),
    Metric(
        "training_loss_at_step",
        "Training loss over the stretch of steps that ends at this step (at most 200 stretches, at stable steps).",
        lambda s: [((str(p.step),), p.loss) for p in s.curve],
        labels=("step",),
        unit="nats per token",
    ),
    Metric(
        "training_final_loss_estimate",
        "Loss expected at the planned end; bound low and high should hold it in 90 % of cases.",
        readers.final_loss,
        labels=("bound",),
        unit="nats per token",
    ),
    Metric(
        "training_steps_since_improvement",
        "Steps since the loss last improved by the plateau threshold.",
        readers.level(lambda x: x.steps_since_improvement),
        unit="steps",
    ),
    Metric(
        "training_validation_loss",
        "Latest validation loss as the log shows it.",
        readers.validation("loss"),
        unit="nats per token",
    ),
    Metric(
        "training_validation_bpb",
        "Latest validation loss in bits per byte of text, as the log shows it.",
        readers.validation("bits_per_byte"),
        unit="bits per byte",
    ),
    Metric(
        "training_validation_score",
        "Latest value of every other validation metric, as the log shows it (core, accuracy, ...).",
        readers.other_validations,
        labels=("metric",),
    ),
    Metric("training_learning_rate", "Learning rate as the log shows it.", lambda s: s.learning_rate),
    Metric(
        "training_learning_rate_multiplier",
        "Factor of the learning rate schedule, 0 to 1, where the log shows that instead.",
        lambda s: s.lr_multiplier,
    ),
    Metric("training_grad_norm", "Norm of the gradient as the log shows it.", lambda s: s.grad_norm),
    Metric(
        "training_grad_norm_baseline",
        "Recent level of the gradient norm that the step's norm is compared with.",
        readers.level(lambda x: x.grad_norm_baseline),
    ),
    Metric(
        "training_mfu_ratio",
        "Model FLOPs utilisation, 0 to 1; label mfu_source of training_run_info: logged, or computed from the header.",
        lambda s: s.mfu_ratio,
        unit="ratio",
    ),
    Metric(
        "training_mfu_baseline_ratio",
        "Usual MFU of this run, 0 to 1: the baseline of the mfu_drop anomaly.",
        readers.level(lambda x: x.mfu_baseline),
        unit="ratio",
    ),
    Metric(
        "training_mfu_recent_ratio",
        "Running median of the MFU over the last few steps, 0 to 1: one odd step does not move it.",
        readers.level(lambda x: x.mfu_recent),
        unit="ratio",
    ),
    Metric(
        "training_step_duration_seconds",
        "Time that the latest step took, as the log shows it.",
        lambda s: s.step_time_s,
        unit="seconds",
    ),
    Metric(
        "training_step_duration_baseline_seconds",
        "Usual step time of this run: the baseline of the slowdown anomaly.",
        readers.level(lambda x: x.step_time_baseline),
        unit="seconds",
    ),
    Metric(
        "training_step_duration_recent_seconds",
        "Running median of the step time over the last few steps: one odd step does not move it.",
        readers.level(lambda x: x.step_time_recent),
        unit="seconds",
    ),
    Metric(
        "training_tokens_per_second",
        "Training throughput; label tokens_scope of training_run_info: global for the whole job, or device.",
        lambda s: s.tokens_per_second,
        unit="tokens per second",
    ),
    Metric(
        "training_tokens_total",
        "Tokens trained on so far. A resumed run falls back with its step; for speed use training_tokens_per_second.",
        lambda s: s.tokens_total,
        unit="tokens",
        type="counter",
    ),
    Metric(
        "training_last_step_timestamp_seconds",
        "Unix time of the latest step.",
        lambda s: s.last_step_time,
        unit="seconds",
    ),
    Metric(
        "training_stall_after_seconds",
        "Silence longer than this counts as a stall, from the run's own rhythm.",
        readers.level(lambda x: x.stall_after_s),
        unit="seconds",
    ),
    Metric(
        "training_remaining_seconds",
        "Time to the planned end, with evaluations, samples and checkpoints counted.",
        lambda s: s.remaining_s,
        unit="seconds",
    ),
    Metric(
        "training_cost_dollars",
        "Cost of the run so far in US dollars, from the configured price.",
        readers.dollars(lambda c: c.so_far),
        unit="dollars",
    ),
    Metric(
        "training_cost_estimated_dollars",
        "Cost of the whole run at its planned end in US dollars.",
        readers.dollars(lambda c: c.estimated_total),
        unit="dollars",
    ),
    Metric(
        "training_goodput_ratio",
        "Part of the run's wall time that trained, 0 to 1.",
        readers.goodput(lambda g: g.ratio),
        unit="ratio",
    ),
    Metric(
        "training_lost_seconds",
        "Wall time of the run that did not train, by reason.",
        readers.lost,
        labels=("reason",),
        unit="seconds",
    ),
    Metric(
        "training_anomalies_total",
        "Anomalies that began, or rose to this severity, counted at the step where it happened.",
        readers.anomaly_counts,
        labels=("kind", "severity"),
        type="counter",
    ),
    Metric(
        "training_anomaly_active",
        "1 at the present severity of an anomaly that goes on, 0 otherwise.",
        readers.anomaly_active,
        labels=("kind", "severity"),
    ),
    Metric(
        "training_anomaly_last_step",
        "Step at which the last anomaly of this kind began or rose.",
        readers.last_events(lambda e: e.step),
        labels=("kind",),
        unit="steps",
    ),
    Metric(
        "training_anomaly_last_value",
        "What the last anomaly of this kind saw, in the unit of what it watches.",
        readers.last_events(lambda e: e.value),
        labels=("kind",),
    ),
    Metric(
        "training_anomaly_last_expected",
        "What the last anomaly of this kind expected to see, in the unit of what it watches.",
        readers.last_events(lambda e: e.expected),
        labels=("kind",),
    ),
    Metric(
        "training_errors_total",
        "Error lines in the log, by kind (cuda_oom, traceback, nccl_timeout, ...).",
        lambda s: readers.by_name(s.failure_counts),
        labels=("kind",),
        type="counter",
    ),
    Metric(
        "training_baseline_info",
        "The baseline run that this run is compared with; always 1.",
        lambda s: [] if s.comparison is None else [((s.comparison.run,), 1)],
        labels=("baseline",),
        type="info",
    ),
    Metric(
        "training_baseline_loss",
        "Loss of the baseline run at the same step.",
        readers.baseline(lambda c: c.baseline_loss),
        unit="nats per token",
    ),
    Metric(
        "training_loss_vs_baseline_ratio",
        "Loss of this run over the baseline run's at the same step; below 1 is better.",
        readers.baseline(lambda c: readers.over(c.loss, c.baseline_loss)),
        unit="ratio",
    ),
    Metric(
        "training_baseline_mfu_ratio",
        "MFU of the baseline run at the same step, 0 to 1.",
        readers.baseline(lambda c: c.baseline_mfu_ratio),
        unit="ratio",
    ),
    Metric(
        "training_mfu_vs_baseline_ratio",
        "MFU of this run over the baseline run's at the same step; above 1 is better.",
        readers.baseline(lambda c: readers.over(c.mfu_ratio, c.baseline_mfu_ratio)),
        unit="ratio",
    ),
    Metric(
        "training_baseline_step_duration_seconds",
        "Step time of the baseline run at the same step.",
        readers.baseline(lambda c: c.baseline_step_time_s),
        unit="seconds",
    ),
    Metric(
        "training_step_duration_vs_baseline_ratio",
        "Step time of this run over the baseline run's at the same step; below 1 is better.",
        readers.baseline(lambda c: readers.over(c.step_time_s, c.baseline_step_time_s)),
        unit="ratio",
    ),
    Metric(
        "training_baseline_steps_ahead",
        "Steps that the baseline run needed for the present loss, minus this run's step; negative is behind.",
        readers.baseline(lambda c: c.steps_ahead),
        unit="steps",
    ),
)

#: About the reading of one source; labels `source` and `run`.
SOURCE: tuple[Metric[SourceStatus], ...] = (
    Metric("training_monitor_source_up", "1 if the source could be read at the last try.", lambda s: s.up),
    Metric(
        "training_monitor_source_waiting",
        "1 while the source does not exist yet, which is no error.",
        lambda s: s.waiting,
    ),
    Metric(
        "training_monitor_source_lag_bytes",
        "Bytes written to the source but not read yet.",
        lambda s: s.lag_bytes,
        unit="bytes",
    ),
    Metric(
        "training_monitor_source_last_change_timestamp_seconds",
        "Unix time at which the source last grew.",
        lambda s: s.last_change,
        unit="seconds",
    ),
    Metric("training_monitor_source_lines_total", "Lines read.", lambda s: s.lines_read, unit="lines", type="counter"),
    Metric(
        "training_monitor_source_parsed_lines_total",
        "Lines that told something about the run.",
        lambda s: s.lines_parsed,
        unit="lines",
        type="counter",
    ),
    Metric(
        "training_monitor_source_parse_errors_total",
        "Lines, or fields of lines, that could not be used, by reason.",
        lambda s: readers.by_name(s.parse_errors),
        labels=("reason",),
        type="counter",
    ),
    Metric(
        "training_monitor_source_rotations_total",
        "Times that the source went on in a new file.",
        lambda s: s.rotations,
        type="counter",
    ),
    Metric(
        "training_monitor_source_replacements_total",
        "Times that the source was truncated or written anew.",
        lambda s: s.replacements,
        type="counter",
    ),
    Metric(
        "training_monitor_source_lost_bytes_total",
        "Bytes known to be gone before they could be read.",
        lambda s: s.lost_bytes,
        unit="bytes",
        type="counter",
    ),
)

#: About the exporter as a whole; no label of its own.
OWN: tuple[Metric[View], ...] = (
    Metric(
        "training_monitor_build_info",
        "Version of the exporter and of its Python; always 1.",
        lambda v: [((__version__, platform.python_version()), 1)],
        labels=("version", "python_version"),
        type="info",
    ),
    Metric("training_monitor_ready", "1 once every log found at the start has been read.", lambda v: v.ready),
    Metric("training_monitor_sources", "Sources that are watched.", lambda v: len(v.sources)),
    Metric("training_monitor_runs", "Runs that are shown.", lambda v: len(v.snapshots)),
    Metric(
        "training_anomaly_threshold",
        "Configured threshold of an anomaly in its own unit: ratio to the baseline, share lost, or steps.",
        lambda v: [((kind, severity), value) for (kind, severity), value in sorted(v.thresholds.items())],
        labels=("kind", "severity"),
    ),
    Metric(
        "training_monitor_skipped_files",
        "Files in watched folders that the last search left alone, by reason.",
        lambda v: readers.by_name(v.own.skipped_files),
        labels=("reason",),
    ),
    Metric(
        "training_monitor_state_saves_total",
        "Tries to save offsets and detector state to the state directory.",
        lambda v: v.own.state_saves,
        type="counter",
    ),
    Metric(
        "training_monitor_state_save_failures_total",
        "Tries to save the state that failed.",
        lambda v: v.own.state_save_failures,
        type="counter",
    ),
    Metric(
        "training_monitor_states_unusable_total",
        "Saved states that could not be used (torn, foreign, of another version): their logs were read from the start.",
        lambda v: v.own.states_unusable,
        type="counter",
    ),
    Metric(
        "training_monitor_config_last_reload_successful",
        "1 if the last load of the configuration worked; 0 means that the one before is still in use.",
        lambda v: v.own.config_reload_ok,
    ),
    Metric(
        "training_monitor_config_last_reload_timestamp_seconds",
        "Unix time at which the configuration in use was loaded.",
        lambda v: v.own.config_reload_time,
        unit="seconds",
    ),
)

#: What the renderer itself measures, seconds.
SCRAPE_DURATION: Metric[float] = Metric(
    "training_monitor_scrape_duration_seconds",
    "Time that it took to write the previous answer to a scrape.",
    lambda seconds: seconds,
    unit="seconds",
)


def markdown() -> str:
    """The metrics as Markdown tables."""
    groups: tuple[tuple[str, str, tuple[str, ...], Sequence[Metric[Any]]], ...] = (
        ("Runs", "Label `run` is the name of the run.", ("run",), RUN),
        ("Sources", "Labels `source` (path or address) and `run`.", ("source", "run"), SOURCE),
        ("The exporter", "The usual `process_*` metrics come with them.", (), (*OWN, SCRAPE_DURATION)),
    )
    lines = ["# Metrics", "", "Made from `expose/catalogue.py` by `python -m training_monitor.expose.catalogue`."]
    for title, text, scope, metrics in groups:
        lines += ["", f"## {title}", text, "", "| metric | type | labels | unit | meaning |", "|---|---|---|---|---|"]
        for m in metrics:
            labels = ", ".join(f"`{label}`" for label in (*scope, *m.labels))
            lines.append(f"| `{m.name}` | {m.type} | {labels} | {m.unit} | {m.help} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
