from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from full_view import full_snapshot, full_source, full_view
from training_monitor.expose import catalogue
from training_monitor.expose.metric import Metric
from training_monitor.records import KINDS, STATES, Cost, Severity, Snapshot

ALL: tuple[Metric[Any], ...] = (*catalogue.RUN, *catalogue.SOURCE, *catalogue.OWN, catalogue.SCRAPE_DURATION)
#: Names that rules, dashboards and users rely on.
PROMISED = set(
    """
    training_step training_steps_planned training_epoch training_loss training_validation_loss
    training_validation_bpb training_learning_rate training_grad_norm training_mfu_ratio
    training_step_duration_seconds training_tokens_per_second training_tokens_total
    training_last_step_timestamp_seconds training_loss_baseline training_mfu_baseline_ratio
    training_mfu_recent_ratio training_step_duration_baseline_seconds training_step_duration_recent_seconds
    training_steps_since_improvement training_anomalies_total training_anomaly_active training_anomaly_threshold
    training_progress_ratio training_remaining_seconds training_cost_dollars training_cost_estimated_dollars
    training_final_loss_estimate training_goodput_ratio training_run_state training_errors_total training_run_info
    training_monitor_build_info
    """.split()  # noqa: SIM905 - easier to read than a list
)
#: Labels that Prometheus configurations put on targets, and what the guide for exporters says not to use.
RESERVED = {"instance", "job", "region", "zone", "cluster", "az", "datacenter", "dc", "owner", "customer"}
RESERVED |= {"stage", "service", "environment", "env", "type", "le", "quantile"}


def read(name: str, subject: Any) -> Any:
    (metric,) = [m for m in ALL if m.name == name]
    value = metric.read(subject)
    return dict(value) if metric.labels else value  # type: ignore[arg-type]


def subjects() -> Iterator[tuple[Metric[Any], Any]]:
    yield from ((m, full_snapshot()) for m in catalogue.RUN)
    yield from ((m, full_source()) for m in catalogue.SOURCE)
    yield from ((m, full_view()) for m in catalogue.OWN)


def test_promised_names_exist() -> None:
    assert {m.name for m in ALL} >= PROMISED


def test_names_are_unique() -> None:
    assert len({m.name for m in ALL}) == len(ALL)


@pytest.mark.parametrize("metric", ALL, ids=lambda m: m.name)
def test_names_labels_and_help_follow_the_guides(metric: Metric[Any]) -> None:
    assert re.fullmatch(r"training_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.type == "counter")
    assert metric.name.endswith("_info") == (metric.type == "info")
    assert not RESERVED & set(metric.labels)
    assert not {"run", "source"} & set(metric.labels) or metric.name == "training_run_info"
    assert metric.help.endswith(".")
    assert metric.help.isprintable()


@pytest.mark.parametrize(("metric", "subject"), list(subjects()), ids=lambda x: getattr(x, "name", ""))
def test_every_metric_shows_something_when_everything_is_known(metric: Metric[Any], subject: Any) -> None:
    value = metric.read(subject)
    values = [v for _, v in value] if metric.labels else [value]  # type: ignore[union-attr]
    assert values
    assert all(isinstance(v, int | float) for v in values)


def test_label_values_are_as_many_as_labels() -> None:
    for metric, subject in subjects():
        if metric.labels:
            assert all(len(labels) == len(metric.labels) for labels, _ in metric.read(subject))  # type: ignore[union-attr]


def test_of_an_empty_run_only_flags_and_counters_are_shown() -> None:
    empty = Snapshot(run="r", source="s")
    shown = {m.name for m in catalogue.RUN if (list(m.read(empty)) if m.labels else m.read(empty) is not None)}  # type: ignore[arg-type]
    assert shown == {
        "training_run_info",
        "training_run_state",
        "training_runs_total",
        "training_restarts_total",
        "training_anomalies_total",
        "training_anomaly_active",
    }


def test_every_kind_of_anomaly_is_counted_at_zero_from_the_first_scrape() -> None:
    counts = read("training_anomalies_total", Snapshot(run="r", source="s"))
    assert counts == {(kind, severity): 0 for kind in KINDS for severity in ("notice", "warning", "critical")}


def test_an_open_anomaly_is_active_at_its_present_severity_only() -> None:
    active = read("training_anomaly_active", full_snapshot(active={"slowdown": Severity.CRITICAL}))
    assert {labels for labels, value in active.items() if value} == {("slowdown", "critical")}
    assert len(active) == len(KINDS) * 3


def test_the_last_anomaly_of_a_kind_is_the_one_that_is_named() -> None:
    assert read("training_anomaly_last_step", full_snapshot()) == {("loss_spike",): 700}
    assert read("training_anomaly_last_value", full_snapshot()) == {("loss_spike",): 6.5}
    assert read("training_anomaly_last_expected", full_snapshot()) == {("loss_spike",): 3.1}


def test_exactly_one_state_is_one() -> None:
    for state in STATES:
        states = read("training_run_state", full_snapshot(state=state))
        assert {labels for labels, value in states.items() if value} == {(state,)}
        assert len(states) == len(STATES)


def test_only_dollars_are_called_dollars() -> None:
    assert read("training_cost_dollars", full_snapshot(cost=Cost(5.0, 9.0))) == 5.0
    assert read("training_cost_dollars", full_snapshot(cost=Cost(5.0, 9.0, "EUR"))) is None
    assert read("training_cost_estimated_dollars", full_snapshot(cost=Cost(5.0, 9.0, "EUR"))) is None


def test_baseline_ratios_are_this_run_over_the_baseline() -> None:
    assert read("training_step_duration_vs_baseline_ratio", full_snapshot()) == 2.0
    assert read("training_mfu_vs_baseline_ratio", full_snapshot()) == 0.8


def test_lost_time_has_every_reason() -> None:
    lost = read("training_lost_seconds", full_snapshot())
    assert lost[("evaluation",)] == 40.0
    assert lost[("stall",)] == 0.0
    assert len(lost) == 7


def test_parameters_that_are_no_number_do_not_break_the_info() -> None:
    facts = full_snapshot().facts.merged(type(full_snapshot().facts)(parameters=float("nan")))
    (labels,) = read("training_run_info", full_snapshot(facts=facts))
    assert labels[4] == ""


def test_names_from_the_log_make_a_bounded_number_of_series() -> None:
    counts = {f"reason-{i}": i for i in range(1000)}
    assert len(read("training_monitor_source_parse_errors_total", full_source(parse_errors=counts))) == 50


def test_the_table_in_the_docs_is_current() -> None:
    docs = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert docs.read_text() == catalogue.markdown(), (
        "run: python -m training_monitor.expose.catalogue > docs/metrics.md"
    )
