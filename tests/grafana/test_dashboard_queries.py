"""The expressions of the dashboards: they parse, name metrics that exist, show every metric, and keep the lint rules.

The rules are those of Grafana's dashboard-linter that apply to Prometheus dashboards; `EXCLUDED` says where we do
otherwise and why.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

import promql_parser
import pytest
import yaml
from prometheus_client.process_collector import ProcessCollector

from grafana.shown import BOARDS, Json, Query, interpolated, nodes, panels, parsed, queries, selectors
from real import ROOT, every, succeeds
from training_monitor.expose import catalogue

QUERIES = queries()
CATALOGUE = {m.name: m for m in (*catalogue.RUN, *catalogue.SOURCE, *catalogue.OWN, catalogue.SCRAPE_DURATION)}
PROCESS = {family.samples[0].name for family in ProcessCollector(registry=None).collect()}
#: Made by Prometheus itself, and by NVIDIA's exporter.
PROMETHEUS = {"up", "scrape_duration_seconds", "ALERTS"}
DCGM = {"GPU_UTIL", "FB_USED", "POWER_USAGE", "GPU_TEMP", "XID_ERRORS"}
OUTSIDE = PROMETHEUS | {f"DCGM_FI_DEV_{name}" for name in DCGM} | {"DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"}

#: Public metrics that no panel shows, and why.
NOT_SHOWN = {
    "process_virtual_memory_bytes": "says nothing about a Python process that resident memory does not say better",
}


def recorded() -> set[str]:
    files = (ROOT / "prometheus/rules").glob("*.yml")
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_every_expression_parses(query: Query) -> None:
    parsed(query.expr)


@pytest.mark.servers
def test_prometheus_own_parser_agrees_under_every_version() -> None:
    """As rules, because promtool checks those."""
    rules = [{"record": "x", "expr": interpolated(q.expr, {"instance": ".+", "job": ".+", "run": "a", "baseline": "b"})}
             for q in QUERIES]  # fmt: skip
    # A rule may occur once only.
    text = yaml.safe_dump({"groups": [{"name": f"g{i}", "rules": [rule]} for i, rule in enumerate(rules)]})
    file = ROOT / ".cache/dashboard-expressions.yml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    for promtool in every("promtool"):
        succeeds(promtool, "check", "rules", "--lint=none", file)


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_every_metric_that_is_named_exists(query: Query) -> None:
    known = CATALOGUE.keys() | PROCESS | OUTSIDE | recorded()
    assert {s.name for s in selectors(parsed(query.expr))} <= known


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_every_label_that_is_named_exists(query: Query) -> None:
    added = {"instance", "job", "alertname", "alertstate"}  # by Prometheus
    for selector in selectors(parsed(query.expr)):
        metric = CATALOGUE.get(selector.name)
        if metric is None:
            continue
        scope = ("run",) if metric in catalogue.RUN else ("run", "source") if metric in catalogue.SOURCE else ()
        named = {m.name for m in selector.matchers.matchers}
        assert named <= {*metric.labels, *scope, *added}, f"{selector.name} has no such label"


def test_every_public_metric_is_shown_or_left_out_for_a_reason() -> None:
    shown = {s.name for q in queries(everything=False) for s in selectors(parsed(q.expr))}
    missing = (CATALOGUE.keys() | PROCESS) - shown
    assert missing == NOT_SHOWN.keys()


# -- the rules of dashboard-linter ------------------------------------------------------------------------------------

#: (rule, dashboard, panel or metric) → why we do otherwise. "*" stands for all.
EXCLUDED = {
    ("template-job-rule", "training-overview", "*"): "the metrics are the exporter's own, whatever its job is called",
    ("template-job-rule", "training-run", "*"): "the metrics are the exporter's own, whatever its job is called",
    ("target-job-rule", "training-overview", "*"): "the metrics are the exporter's own, whatever its job is called",
    ("target-job-rule", "training-run", "*"): "the metrics are the exporter's own, whatever its job is called",
    (
        "target-instance-rule",
        "training-run",
        "DCGM",
    ): "GPUs are scraped from another exporter; its instance is no run's",
    ("target-rate-interval-rule", "training-overview", "All runs"): "asks for the last 24 hours",
    ("target-rate-interval-rule", "training-run", "Anomalies"): "asks for the last 24 hours",
    ("target-rate-interval-rule", "training-run", "Anomalies by kind"): "asks for the last 24 hours",
    ("target-rate-interval-rule", "training-exporter", "Failed saves, 1 h"): "asks for the last hour",
}
#: Counters whose value itself is shown, and why.
COUNTED = {
    "training_anomalies_total": "annotations and bars take the difference of two points: none counts twice",
    "training_restarts_total": "people count restarts of a run; annotations take the difference between two points",
    "training_runs_total": "people count runs",
    "training_errors_total": "people count error lines of a run",
    "training_tokens_total": "tokens so far are a fact about a run",
    "training_monitor_source_lines_total": "size of a log, beside how much of it was understood",
    "training_monitor_source_parsed_lines_total": "as a part of the lines",
    "training_monitor_source_parse_errors_total": "lines of a log that could not be used, since the start",
    "training_monitor_source_rotations_total": "rare: since the start",
    "training_monitor_source_replacements_total": "rare: since the start",
    "training_monitor_source_lost_bytes_total": "rare: since the start",
    "training_monitor_states_unusable_total": "counted before the first scrape: its rate is always 0",
}
RATES = {"rate", "irate", "increase"}


def broken() -> Iterator[tuple[str, str, str]]:
    """Every breach: rule, dashboard, panel."""
    for uid, board in BOARDS.items():
        variables = {v["name"]: v for v in board["templating"]["list"]}
        yield from ((rule, uid, "*") for rule in templates(variables))
        if board["editable"]:
            yield "uneditable-dashboard", uid, "*"
        for panel in panels(board):
            yield from ((rule, uid, panel["title"]) for rule in of_panel(panel))
            for target in panel["targets"]:
                yield from ((rule, uid, where) for rule, where in of_target(target["expr"], panel["title"]))


def templates(variables: dict[str, Json]) -> Iterator[str]:
    source = variables.get("datasource")
    if (
        source is None
        or source["type"] != "datasource"
        or source["query"] != "prometheus"
        or source["label"] != "Data source"
    ):
        yield "template-datasource-rule"
    for name in ("job", "instance"):
        v = variables.get(name)
        if v is None or not (v["multi"] and v["includeAll"] and v["allValue"] == ".+"):
            yield f"template-{name}-rule"
    for v in variables.values():
        if v["type"] == "query" and v["refresh"] != 2:
            yield "template-on-time-change-reload-rule"


def of_panel(panel: Json) -> Iterator[str]:
    if panel["datasource"]["uid"] != "${datasource}":
        yield "panel-datasource-rule"
    if not panel["title"] or not panel["description"]:
        yield "panel-title-description-rule"
    if not panel["fieldConfig"]["defaults"]["unit"]:
        yield "panel-units-rule"
    if not panel["targets"]:
        yield "panel-no-targets-rule"


def of_target(text: str, title: str) -> Iterator[tuple[str, str]]:
    expr = parsed(text)
    for selector in selectors(expr):
        matchers = {m.name for m in selector.matchers.matchers}
        where = "DCGM" if selector.name.startswith("DCGM") else title
        yield from ((f"target-{name}-rule", where) for name in ("job", "instance") if name not in matchers)
    for function, inner in re.findall(r"\b(rate|irate|increase)\(.*?\[([^\]]+)\]", text):
        if inner != "$__rate_interval":
            yield "target-rate-interval-rule", f"{title}" if function else ""


def excluded(breach: tuple[str, str, str]) -> tuple[str, str, str] | None:
    everywhere = (*breach[:2], "*")
    return next((key for key in (breach, everywhere) if key in EXCLUDED), None)


def test_the_lint_rules_hold_but_for_reasoned_exclusions() -> None:
    breaches = set(broken())
    assert {b for b in breaches if excluded(b) is None} == set()
    assert {excluded(b) for b in breaches} == EXCLUDED.keys(), "an exclusion that nothing needs any more"


def test_a_dashboard_that_breaks_the_rules_is_found() -> None:
    assert set(templates({})) == {"template-datasource-rule", "template-job-rule", "template-instance-rule"}
    panel = {
        "datasource": {"uid": "x"},
        "title": "",
        "description": "",
        "fieldConfig": {"defaults": {"unit": ""}},
        "targets": [],
    }
    assert len(list(of_panel(panel))) == 4
    assert len(list(of_target("rate(x[5m])", "P"))) == 3


def test_counters_are_rated_or_counted_for_a_reason() -> None:
    plain: dict[str, set[str]] = defaultdict(set)
    for query in QUERIES:
        expr = parsed(query.expr)
        rated = [s for call in nodes(expr) if isinstance(call, promql_parser.Call) and call.func.name in RATES
                 for s in selectors(call)]  # fmt: skip
        names = [s.name for s in selectors(expr)]
        for name in names:
            metric = CATALOGUE.get(name)
            if (
                metric is not None
                and metric.type == "counter"
                and names.count(name) > [s.name for s in rated].count(name)
            ):
                plain[name].add(str(query))
    assert plain.keys() == COUNTED.keys()


def test_gauges_are_never_rated() -> None:
    for query in QUERIES:
        for call in nodes(parsed(query.expr)):
            if isinstance(call, promql_parser.Call) and call.func.name in RATES:
                for selector in selectors(call):
                    assert selector.name.endswith("_total"), str(query)


def test_what_grafana_makes_of_hostile_names_is_one_string() -> None:
    names = ['a"b', "c'd", "e/f", "g\\h", "i|j", "k.*", "ü(ber)", "l" * 200]
    for run in (*names, names):
        pattern = interpolated("${run:regex}", {"run": run})
        assert "`" not in pattern, "it stands in a raw string"
        for name in names if run == names else [run]:
            assert re.fullmatch(pattern, name)
        assert not re.fullmatch(pattern, "another")
