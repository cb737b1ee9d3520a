"""The rules: valid under every Prometheus at hand, tested alert by alert, and of one mind with the exporter."""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from real import ROOT, every, succeeds
from training_monitor.detect.thresholds import Thresholds
from training_monitor.expose.catalogue import OWN, RUN, SOURCE
from training_monitor.records import KINDS
from training_monitor.report.advice import ADVICE, FAILURES

RULES = sorted((ROOT / "prometheus/rules").glob("*.yml"))
CASES = sorted(Path(__file__).parent.glob("*.test.yml"))


def rules() -> list[dict[str, Any]]:
    return [r for file in RULES for group in yaml.safe_load(file.read_text())["groups"] for r in group["rules"]]


ALERTS = [r for r in rules() if "alert" in r]
RUN_ALERTS = {r["alert"]: kind for r in ALERTS for kind in KINDS if f'kind="{kind}"' in r["expr"]}


@cache
def checks() -> list[dict[str, Any]]:
    return [c for file in CASES for t in yaml.safe_load(file.read_text())["tests"] for c in t["alert_rule_test"]]


@pytest.mark.servers
def test_promtool_finds_nothing_to_complain_about() -> None:
    for promtool in every("promtool"):
        succeeds(promtool, "check", "rules", "--lint=all", "--lint-fatal", *RULES)


@pytest.mark.servers
@pytest.mark.parametrize("file", CASES, ids=lambda f: f.stem)
def test_every_alert_is_silent_before_and_says_the_whole_truth_after(file: Path) -> None:
    for promtool in every("promtool"):
        succeeds(promtool, "test", "rules", file)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda r: f"{r['alert']}-{r['labels']['severity']}")
def test_no_alert_escapes_the_cases(alert: dict[str, Any]) -> None:
    of_this = [c for c in checks() if c["alertname"] == alert["alert"]]
    severities = [e["exp_labels"]["severity"] for c in of_this for e in c["exp_alerts"]]
    assert alert["labels"]["severity"] in severities, "no case in which it fires"
    assert any(not c["exp_alerts"] for c in of_this), "no case in which it is silent"


def test_the_rules_are_what_thresholds_and_advice_say() -> None:
    succeeds(sys.executable, ROOT / "prometheus/generate.py", "--check")


@pytest.mark.parametrize(
    ("alert", "severity", "numbers"),
    [
        ("TrainingLossSpike", "warning", r"ratio_to_baseline\[1m\]\) >= (\S+)"),
        ("TrainingLossSpike", "critical", r"ratio_to_baseline >= (\S+)"),
        ("TrainingMfuDrop", "warning", r"lost_ratio\[1m\]\) >= (\S+)"),
        ("TrainingMfuDrop", "critical", r"lost_ratio\[1m\]\) >= (\S+)"),
        ("TrainingSlowdown", "warning", r"ratio_to_baseline\[1m\]\) >= (\S+)"),
        ("TrainingSlowdown", "critical", r"ratio_to_baseline\[1m\]\) >= (\S+)"),
        ("TrainingLossPlateau", "warning", r"training_steps_since_improvement < (\S+)"),
        ("TrainingLossPlateau", "critical", r"training_steps_since_improvement < (\S+)"),
    ],
)
def test_the_numbers_in_the_rules_are_those_of_the_table(alert: str, severity: str, numbers: str) -> None:
    rule = next(r for r in ALERTS if r["alert"] == alert and r["labels"]["severity"] == severity)
    limit = Thresholds().table()[RUN_ALERTS[alert], severity]
    assert [float(n) for n in re.findall(numbers, rule["expr"])] == [limit]
    assert [float(n) for n in re.findall(r"training_anomaly_threshold{[^}]*} != (\S+)", rule["expr"])] == [limit]


def test_every_kind_of_anomaly_has_an_alert() -> None:
    assert set(RUN_ALERTS.values()) == set(KINDS)


def test_alerts_stand_in_triage_order() -> None:
    order = [RUN_ALERTS[r["alert"]] for r in ALERTS if r["alert"] in RUN_ALERTS]
    assert [KINDS.index(k) for k in order] == sorted(KINDS.index(k) for k in order)


def test_every_metric_in_the_rules_is_in_the_catalogue() -> None:
    known = {m.name for m in (*RUN, *SOURCE, *OWN)} | {r["record"] for r in rules() if "record" in r}
    text = " ".join(str(r.get("expr", "")) + str(r.get("annotations", "")) for r in rules())
    used = set(re.findall(r"\b(?:run:)?training_\w+(?::\w+)?", text))
    assert used <= known, used - known


@pytest.mark.parametrize("alert", ALERTS, ids=lambda r: f"{r['alert']}-{r['labels']['severity']}")
def test_every_alert_says_what_to_do_and_where_to_look(alert: dict[str, Any]) -> None:
    annotations = alert["annotations"]
    assert set(annotations) == {"summary", "description", "action", "dashboard_url", "runbook_url"}
    assert annotations["runbook_url"].endswith(f"/docs/runbooks.md#{alert['alert'].lower()}")
    if kind := RUN_ALERTS.get(alert["alert"]):
        advice = ADVICE[kind]
        assert annotations["summary"].startswith(advice.title)
        assert annotations["description"].endswith(advice.meaning)
        assert annotations["action"].startswith(advice.look_first)
        assert [line.split(". ", 1)[1] for line in annotations["action"].splitlines()[1:]] == list(advice.actions)


def test_two_rules_of_one_alert_differ_in_severity_only_and_warning_comes_first() -> None:
    found = [(r["alert"], r["labels"]["severity"]) for r in ALERTS]
    assert len(set(found)) == len(found)
    for name in {n for n, _ in found}:
        assert [s for n, s in found if n == name] in (["warning"], ["critical"], ["warning", "critical"])


@pytest.mark.parametrize("url", sorted({r["annotations"]["dashboard_url"] for r in ALERTS}))
def test_every_dashboard_that_an_alert_links_to_exists_with_its_variables(url: str) -> None:
    uid, *variables = re.findall(r"(?:/d/|var-)([\w-]+)", url)
    boards = [json.loads(file.read_text()) for file in (ROOT / "grafana/dashboards").glob("*.json")]
    board = next(b for b in boards if b["uid"] == uid)
    assert set(variables) <= {v["name"] for v in board["templating"]["list"]}


RUNBOOKS = (ROOT / "docs/runbooks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("alert", ALERTS, ids=lambda r: f"{r['alert']}-{r['labels']['severity']}")
def test_every_alert_has_a_runbook_that_says_the_same_at_length(alert: dict[str, Any]) -> None:
    section = RUNBOOKS.split(f"\n## {alert['alert']}\n", 1)[1].split("\n## ", 1)[0]
    for part in ("**Look first.** ", "**Do.**", "**Silence or tune.** "):
        assert part in section
    annotations = alert["annotations"]
    for line in (annotations["description"].splitlines()[-1], *annotations["action"].splitlines()):
        assert line in section


def test_every_runbook_belongs_to_an_alert() -> None:
    assert re.findall(r"^## (\w+)$", RUNBOOKS, re.M) == list(dict.fromkeys(r["alert"] for r in ALERTS))


def test_the_runbooks_tell_every_kind_of_failure_apart() -> None:
    for kind, advice in FAILURES.items():
        assert f"| `{kind}` | {advice.meaning} | {advice.look_first} |" in RUNBOOKS


def test_the_runbooks_show_the_numbers_of_the_table() -> None:
    shown = re.findall(r"^\| \[(\w+)\]\(#\w+\) \| −?([\d.]+)[^|]*\| −?([\d.]+)", RUNBOOKS, re.M)
    table = Thresholds().table()
    for alert, *numbers in shown:
        kind = RUN_ALERTS[alert]
        scale = 100 if kind == "mfu_drop" else 1
        assert [float(n) for n in numbers] == [table[kind, s] * scale for s in ("warning", "critical")]
    assert len(shown) == 4
