"""Every metric this exporter shows, as data: the only place with metric names.

Prefix `training_` with label `run` for what is told about a run, `training_monitor_` for the exporter itself. Base
units: seconds, bytes, ratios 0 to 1. A reader gives the number of a metric without labels of its own, or one
`(label values, number)` for each series of one with labels. None: the log does not say, so there is no sample; NaN is
what the log did say. Series of counters and flags exist from the first scrape, at 0.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

from training_monitor import __version__
from training_monitor.expose.view import View
from training_monitor.records import (
    KINDS,
    STATES,
    Comparison,
    Cost,
    Event,
    Goodput,
    Levels,
    Severity,
    Snapshot,
    SourceStatus,
)

T = TypeVar("T")
Number: TypeAlias = float | None
Series: TypeAlias = Iterable[tuple[tuple[str, ...], Number]]

#: Series of one metric that come from names in the log (validation metrics, reasons) and not from a known list.
MAX_SERIES = 20
#: Where the wall time of a run can go; in the catalogue so that every reason exists at 0.
LOST_REASONS = ("startup", "evaluation", "checkpoint", "stall", "rework", "other")


@dataclass(frozen=True, slots=True)
class Metric(Generic[T]):
    """One metric family. `labels` are those besides the scope's own (`run`, or `source` and `run`)."""

    name: str
    type: Literal["gauge", "counter", "info"]
    help: str
    read: Callable[[T], Number | Series]
    labels: tuple[str, ...] = ()
    unit: str = ""  # for people; "" is a plain number


def _anomaly_counts(s: Snapshot) -> Series:
    counts = s.event_counts
    return [(labels, counts.get(key, 0)) for labels, key in _KIND_SEVERITIES]


def _anomaly_active(s: Snapshot) -> Series:
    active = s.active
    return [(labels, active.get(kind) == severity) for labels, (kind, severity) in _KIND_SEVERITIES]


def _last_events(value: Callable[[Event], Number]) -> Callable[[Snapshot], Series]:
    def read(s: Snapshot) -> Series:
        last = {event.kind: event for event in s.events}
        return [((kind,), value(last[kind])) for kind in KINDS if kind in last]

    return read


def _level(value: Callable[[Levels], Number]) -> Callable[[Snapshot], Number]:
    return lambda s: value(s.levels)


def _validation(metric: str) -> Callable[[Snapshot], Number]:
    return lambda s: s.validations[metric].value if metric in s.validations else None


def _other_validations(s: Snapshot) -> Series:
    names = sorted(name for name in s.validations if name not in ("loss", "bits_per_byte"))
    return [((name,), s.validations[name].value) for name in names[:MAX_SERIES]]


def _goodput(value: Callable[[Goodput], Number]) -> Callable[[Snapshot], Number]:
    return lambda s: value(s.goodput) if s.goodput is not None else None


def _lost(s: Snapshot) -> Series:
    if s.goodput is None:
        return []
    return [((reason,), s.goodput.lost.get(reason, 0.0)) for reason in LOST_REASONS]


def _final_loss(s: Snapshot) -> Series:
    f = s.final_loss
    return [] if f is None else [(("estimate",), f.estimate), (("low",), f.low), (("high",), f.high)]


def _dollars(value: Callable[[Cost], Number]) -> Callable[[Snapshot], Number]:
    """Only dollars: a sum in another currency would be a lie under this name."""
    return lambda s: value(s.cost) if s.cost is not None and s.cost.currency == "USD" else None


def _baseline(value: Callable[[Comparison], Number]) -> Callable[[Snapshot], Number]:
    return lambda s: value(s.comparison) if s.comparison is not None else None


def _over(mine: Number, theirs: Number) -> Number:
    return None if mine is None or not theirs else mine / theirs


def _run_info(s: Snapshot) -> Series:
    f = s.facts
    values = (
        f.format,
        f.gpu,
        f.precision,
        f.world_size,
        None if f.parameters is None or not math.isfinite(f.parameters) else int(f.parameters),
        s.source,
        f.loss_kind,
        s.mfu_source,
        s.tokens_scope,
        f.step_inferred,
    )
    yield tuple("" if v is None else str(v) for v in values), 1


def _top(counts: Iterable[tuple[str, int]]) -> Iterator[tuple[tuple[str, ...], int]]:
    return (((name,), n) for name, n in sorted(counts)[:MAX_SERIES])


_KIND_SEVERITIES = tuple(((kind, sev.label), (kind, sev)) for kind in KINDS for sev in Severity)

#: About one run; label `run`.
RUN: tuple[Metric[Snapshot], ...] = (
    Metric(
        "training_run_info",
        "info",
        "What the log says about the run; always 1. Empty labels: the log does not say.",
        _run_info,
        (
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
    ),
    Metric(
        "training_run_state",
        "gauge",
        "1 for the state the run is in, 0 for the others: " + ", ".join(STATES) + ".",
        lambda s: [((state,), s.state == state) for state in STATES],
        ("state",),
    ),
    Metric(
        "training_runs_total", "counter", "Runs seen in this source so far; only the last is shown.", lambda s: s.runs
    ),
    Metric(
        "training_restarts_total",
        "counter",
        "Times that the run resumed: its step went back or a new process went on.",
        lambda s: s.restarts,
    ),
    Metric("training_step", "gauge", "Latest step that the log shows.", lambda s: s.step, unit="steps"),
    Metric(
        "training_first_step",
        "gauge",
        "First step of the run in this log; above 0 where the run was resumed from a checkpoint.",
        lambda s: s.first_step,
        unit="steps",
    ),
    Metric("training_steps_planned", "gauge", "Steps that the run is to take.", lambda s: s.total_steps, unit="steps"),
    Metric(
        "training_progress_ratio",
        "gauge",
        "Part of the planned training that is done, 0 to 1.",
        lambda s: s.progress_ratio,
        unit="ratio",
    ),
    Metric("training_epoch", "gauge", "Passes over the training data, as the log shows it.", lambda s: s.epoch),
    Metric(
        "training_loss",
        "gauge",
        "Training loss as the log shows it, nats per token; loss_kind of training_run_info says how it is smoothed.",
        lambda s: s.loss,
        unit="nats per token",
    ),
    Metric(
        "training_loss_raw",
        "gauge",
        "The latest step's own loss, nats per token, where the log smooths it and it can be recovered.",
        lambda s: s.raw_loss,
        unit="nats per token",
    ),
    Metric(
        "training_best_loss",
        "gauge",
        "Lowest training loss of the run so far, as the plateau detector sees it.",
        lambda s: s.best_loss,
        unit="nats per token",
    ),
    Metric(
        "training_loss_baseline",
        "gauge",
        "Recent level of the loss that the step's loss is compared with: a robust average over steps, not over time.",
        _level(lambda x: x.loss_baseline),
        unit="nats per token",
    ),
    Metric(
        "training_target_loss",
        "gauge",
        "Loss that the user wants to reach, from the configuration.",
        lambda s: s.target_loss,
        unit="nats per token",
    ),
    Metric(
        "training_loss_at_step",
        "gauge",
        "Training loss as the log shows it at some steps of the run (label step, at most a few hundred, they stay).",
        lambda s: [((str(p.step),), p.loss) for p in s.curve],
        ("step",),
        unit="nats per token",
    ),
    Metric(
        "training_final_loss_estimate",
        "gauge",
        "Loss expected at the planned end; bound low and high should hold it in 90 % of cases.",
        _final_loss,
        ("bound",),
        unit="nats per token",
    ),
    Metric(
        "training_steps_since_improvement",
        "gauge",
        "Steps since the loss last improved by the plateau threshold.",
        _level(lambda x: x.steps_since_improvement),
        unit="steps",
    ),
    Metric(
        "training_validation_loss",
        "gauge",
        "Latest validation loss as the log shows it.",
        _validation("loss"),
        unit="nats per token",
    ),
    Metric(
        "training_validation_bits_per_byte",
        "gauge",
        "Latest validation loss in bits per byte of text, as the log shows it.",
        _validation("bits_per_byte"),
        unit="bits per byte",
    ),
    Metric(
        "training_validation_score",
        "gauge",
        "Latest value of every other validation metric, as the log shows it (core, accuracy, ...).",
        _other_validations,
        ("metric",),
    ),
    Metric("training_learning_rate", "gauge", "Learning rate as the log shows it.", lambda s: s.learning_rate),
    Metric(
        "training_learning_rate_multiplier",
        "gauge",
        "Factor of the learning rate schedule, 0 to 1, where the log shows that instead.",
        lambda s: s.lr_multiplier,
    ),
    Metric("training_grad_norm", "gauge", "Norm of the gradient as the log shows it.", lambda s: s.grad_norm),
    Metric(
        "training_grad_norm_baseline",
        "gauge",
        "Recent level of the gradient norm that the step's norm is compared with.",
        _level(lambda x: x.grad_norm_baseline),
    ),
    Metric(
        "training_mfu_ratio",
        "gauge",
        "Model FLOPs utilisation, 0 to 1; label mfu_source of training_run_info: logged, or computed from the header.",
        lambda s: s.mfu_ratio,
        unit="ratio",
    ),
    Metric(
        "training_mfu_baseline_ratio",
        "gauge",
        "Usual MFU of this run, 0 to 1: the baseline of the mfu_drop anomaly.",
        _level(lambda x: x.mfu_baseline),
        unit="ratio",
    ),
    Metric(
        "training_mfu_recent_ratio",
        "gauge",
        "Running median of the MFU over the last few steps, 0 to 1: one odd step does not move it.",
        _level(lambda x: x.mfu_recent),
        unit="ratio",
    ),
    Metric(
        "training_step_duration_seconds",
        "gauge",
        "Time that the latest step took, as the log shows it.",
        lambda s: s.step_time_s,
        unit="seconds",
    ),
    Metric(
        "training_step_duration_baseline_seconds",
        "gauge",
        "Usual step time of this run: the baseline of the slowdown anomaly.",
        _level(lambda x: x.step_time_baseline),
        unit="seconds",
    ),
    Metric(
        "training_step_duration_recent_seconds",
        "gauge",
        "Running median of the step time over the last few steps: one odd step does not move it.",
        _level(lambda x: x.step_time_recent),
        unit="seconds",
    ),
    Metric(
        "training_tokens_per_second",
        "gauge",
        "Training throughput; label tokens_scope of training_run_info: global for the whole job, or device.",
        lambda s: s.tokens_per_second,
        unit="tokens per second",
    ),
    Metric(
        "training_tokens_total",
        "counter",
        "Tokens trained on so far. A resumed run falls back with its step; for speed use training_tokens_per_second.",
        lambda s: s.tokens_total,
        unit="tokens",
    ),
    Metric(
        "training_last_step_timestamp_seconds",
        "gauge",
        "Unix time of the latest step.",
        lambda s: s.last_step_time,
        unit="seconds",
    ),
    Metric(
        "training_stall_after_seconds",
        "gauge",
        "Silence longer than this counts as a stall, from the run's own rhythm.",
        _level(lambda x: x.stall_after_s),
        unit="seconds",
    ),
    Metric(
        "training_remaining_seconds",
        "gauge",
        "Time to the planned end, with evaluations, samples and checkpoints counted.",
        lambda s: s.remaining_s,
        unit="seconds",
    ),
    Metric(
        "training_cost_dollars",
        "gauge",
        "Cost of the run so far in US dollars, from the configured price.",
        _dollars(lambda c: c.so_far),
        unit="dollars",
    ),
    Metric(
        "training_cost_estimated_dollars",
        "gauge",
        "Cost of the whole run at its planned end in US dollars.",
        _dollars(lambda c: c.estimated_total),
        unit="dollars",
    ),
    Metric(
        "training_goodput_ratio",
        "gauge",
        "Part of the run's wall time that trained, 0 to 1.",
        _goodput(lambda g: g.ratio),
        unit="ratio",
    ),
    Metric(
        "training_lost_seconds",
        "gauge",
        "Wall time of the run that did not train, by reason.",
        _lost,
        ("reason",),
        unit="seconds",
    ),
    Metric(
        "training_anomalies_total",
        "counter",
        "Anomalies that began, or rose to this severity, counted at the step where it happened.",
        _anomaly_counts,
        ("kind", "severity"),
    ),
    Metric(
        "training_anomaly_active",
        "gauge",
        "1 at the present severity of an anomaly that goes on, 0 otherwise.",
        _anomaly_active,
        ("kind", "severity"),
    ),
    Metric(
        "training_anomaly_last_step",
        "gauge",
        "Step at which the last anomaly of this kind began or rose.",
        _last_events(lambda e: e.step),
        ("kind",),
        unit="steps",
    ),
    Metric(
        "training_anomaly_last_value",
        "gauge",
        "What the last anomaly of this kind saw, in the unit of what it watches.",
        _last_events(lambda e: e.value),
        ("kind",),
    ),
    Metric(
        "training_anomaly_last_expected",
        "gauge",
        "What the last anomaly of this kind expected to see, in the unit of what it watches.",
        _last_events(lambda e: e.expected),
        ("kind",),
    ),
    Metric(
        "training_errors_total",
        "counter",
        "Error lines in the log, by kind (cuda_oom, traceback, nccl_timeout, ...).",
        lambda s: _top(s.failure_counts.items()),
        ("kind",),
    ),
    Metric(
        "training_baseline_info",
        "info",
        "The baseline run that this run is compared with; always 1.",
        lambda s: [] if s.comparison is None else [((s.comparison.run,), 1)],
        ("baseline",),
    ),
    Metric(
        "training_baseline_loss",
        "gauge",
        "Loss of the baseline run at the same step.",
        _baseline(lambda c: c.baseline_loss),
        unit="nats per token",
    ),
    Metric(
        "training_loss_vs_baseline_ratio",
        "gauge",
        "Loss of this run over the baseline run's at the same step; below 1 is better.",
        _baseline(lambda c: _over(c.loss, c.baseline_loss)),
        unit="ratio",
    ),
    Metric(
        "training_baseline_mfu_ratio",
        "gauge",
        "MFU of the baseline run at the same step, 0 to 1.",
        _baseline(lambda c: c.baseline_mfu_ratio),
        unit="ratio",
    ),
    Metric(
        "training_mfu_vs_baseline_ratio",
        "gauge",
        "MFU of this run over the baseline run's at the same step; above 1 is better.",
        _baseline(lambda c: _over(c.mfu_ratio, c.baseline_mfu_ratio)),
        unit="ratio",
    ),
    Metric(
        "training_baseline_step_duration_seconds",
        "gauge",
        "Step time of the baseline run at the same step.",
        _baseline(lambda c: c.baseline_step_time_s),
        unit="seconds",
    ),
    Metric(
        "training_step_duration_vs_baseline_ratio",
        "gauge",
        "Step time of this run over the baseline run's at the same step; below 1 is better.",
        _baseline(lambda c: _over(c.step_time_s, c.baseline_step_time_s)),
        unit="ratio",
    ),
    Metric(
        "training_baseline_steps_ahead",
        "gauge",
        "Steps that the baseline run needed for the present loss, minus this run's step; negative is behind.",
        _baseline(lambda c: c.steps_ahead),
        unit="steps",
    ),
)

#: About the reading of one source; labels `source` and `run`.
SOURCE: tuple[Metric[SourceStatus], ...] = (
    Metric("training_monitor_source_up", "gauge", "1 if the source could be read at the last try.", lambda s: s.up),
    Metric(
        "training_monitor_source_waiting",
        "gauge",
        "1 while the source does not exist yet, which is no error.",
        lambda s: s.waiting,
    ),
    Metric(
        "training_monitor_source_lag_bytes",
        "gauge",
        "Bytes written to the source but not read yet.",
        lambda s: s.lag_bytes,
        unit="bytes",
    ),
    Metric(
        "training_monitor_source_last_change_timestamp_seconds",
        "gauge",
        "Unix time at which the source last grew.",
        lambda s: s.last_change,
        unit="seconds",
    ),
    Metric("training_monitor_source_lines_total", "counter", "Lines read.", lambda s: s.lines_read, unit="lines"),
    Metric(
        "training_monitor_source_parsed_lines_total",
        "counter",
        "Lines that told something about the run.",
        lambda s: s.lines_parsed,
        unit="lines",
    ),
    Metric(
        "training_monitor_source_parse_errors_total",
        "counter",
        "Lines, or fields of lines, that could not be used, by reason.",
        lambda s: _top(s.parse_errors.items()),
        ("reason",),
    ),
    Metric(
        "training_monitor_source_rotations_total",
        "counter",
        "Times that the source went on in a new file.",
        lambda s: s.rotations,
    ),
    Metric(
        "training_monitor_source_replacements_total",
        "counter",
        "Times that the source was truncated or written anew.",
        lambda s: s.replacements,
    ),
    Metric(
        "training_monitor_source_lost_bytes_total",
        "counter",
        "Bytes known to be gone before they could be read.",
        lambda s: s.lost_bytes,
        unit="bytes",
    ),
)

#: About the exporter as a whole; no label of its own.
OWN: tuple[Metric[View], ...] = (
    Metric(
        "training_monitor_build_info",
        "info",
        "Version of the exporter and of its Python; always 1.",
        lambda v: [((__version__, platform.python_version()), 1)],
        ("version", "python_version"),
    ),
    Metric("training_monitor_ready", "gauge", "1 once every log found at the start has been read.", lambda v: v.ready),
    Metric("training_monitor_sources", "gauge", "Sources that are watched.", lambda v: len(v.sources)),
    Metric("training_monitor_runs", "gauge", "Runs that are shown.", lambda v: len(v.snapshots)),
    Metric(
        "training_anomaly_threshold",
        "gauge",
        "Configured threshold of an anomaly in its own unit: ratio to the baseline, share lost, or steps.",
        lambda v: [((kind, severity), value) for (kind, severity), value in sorted(v.thresholds.items())],
        ("kind", "severity"),
    ),
    Metric(
        "training_monitor_skipped_files_total",
        "counter",
        "Files in watched folders that were left alone, by reason.",
        lambda v: _top(v.own.skipped_files.items()),
        ("reason",),
    ),
    Metric(
        "training_monitor_state_saves_total",
        "counter",
        "Tries to save offsets and detector state to the state directory.",
        lambda v: v.own.state_saves,
    ),
    Metric(
        "training_monitor_state_save_failures_total",
        "counter",
        "Tries to save the state that failed.",
        lambda v: v.own.state_save_failures,
    ),
    Metric(
        "training_monitor_config_last_reload_successful",
        "gauge",
        "1 if the last load of the configuration worked; 0 means that the one before is still in use.",
        lambda v: v.own.config_reload_ok,
    ),
    Metric(
        "training_monitor_config_last_reload_timestamp_seconds",
        "gauge",
        "Unix time at which the configuration in use was loaded.",
        lambda v: v.own.config_reload_time,
        unit="seconds",
    ),
)

#: Taken by the renderer itself.
SCRAPE_DURATION = "training_monitor_scrape_duration_seconds"
#: From prometheus_client's ProcessCollector.
PROCESS = (
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
)
