"""Every alert fires in real servers and resolves; what holds what back; who is told."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from live import SHORTER, Live, shortened
from real import ROOT
from training_monitor.records import KINDS

pytestmark = pytest.mark.servers
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "prometheus/rules/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
ALERTS = {(rule["alert"], rule["labels"]["severity"]) for rule in RULES}
KIND = {rule["alert"]: kind for rule in RULES for kind in KINDS if f'kind="{kind}"' in rule["expr"]}
ABOUT_A_RUN = [(alert, severity) for alert, severity in sorted(ALERTS) if alert in KIND]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    live = Live(tmp_path_factory.mktemp("alerts"), stubs=3)
    try:
        live.start()
        yield live
    finally:
        live.stop()


def anomaly(run: str, kind: str, severity: str, count: int, active: int | bool) -> list[str]:
    labels = f'run="{run}",kind="{kind}",severity="{severity}"'
    return [f"training_anomalies_total{{{labels}}} {count}", f"training_anomaly_active{{{labels}}} {active:d}"]


def scraped(live: Live, times: int = 2) -> None:
    """Returns when so many more scrapes of everything are in."""
    live.until(f"count_over_time(up[2s]) >= {times}")


def test_every_alert_about_a_run_fires_and_resolves(live: Live) -> None:
    """All at once, each in a run of its own; a warning is not told where the critical alert of its run fires."""
    stub = live.stubs[0]

    def everything(count: int) -> list[str]:
        return [
            line
            for alert, severity in ABOUT_A_RUN
            for line in (
                *anomaly(f"{KIND[alert]}-{severity}", KIND[alert], severity, count, count),
                f'training_anomaly_last_step{{run="{KIND[alert]}-{severity}",kind="{KIND[alert]}"}} 4711',
                f'training_steps_since_improvement{{run="{KIND[alert]}-{severity}"}} 2000',
            )
        ]

    stub.set(everything(0))
    live.until(f'training_anomaly_active{{instance="{stub.address}"}} == 0')
    scraped(live)
    stub.set(everything(1))
    for alert, severity in ABOUT_A_RUN:
        page = live.recorder.wait(alert, run=f"{KIND[alert]}-{severity}", severity=severity)
        assert page.receiver == {"critical": "page", "warning": "notify"}[severity]
        assert "step 4711:" in page.annotations["description"].lower()
    stub.set([])
    for alert, severity in ABOUT_A_RUN:
        live.recorder.wait(alert, "resolved", run=f"{KIND[alert]}-{severity}", severity=severity)
    held_back = [p for p in live.recorder.of() if p.severity == "warning" and p.labels["run"].endswith("-critical")]
    assert not held_back


def test_every_alert_about_the_monitor_fires_and_resolves(live: Live) -> None:
    down, sick = live.stubs[1:3]
    source = 'source="/logs/x.log",run="x"'

    def metrics(*, well: bool, lines: int) -> list[str]:
        return [
            f"training_monitor_source_up{{{source}}} {well:d}",
            f"training_monitor_source_waiting{{{source}}} 0",
            f"training_monitor_source_lines_total{{{source}}} {lines}",
            f"training_monitor_source_parsed_lines_total{{{source}}} 0",
            f"training_monitor_state_save_failures_total {0 if well else 2}",
            f"training_monitor_config_last_reload_successful {well:d}",
        ]

    down.set([])
    sick.set(metrics(well=True, lines=0))
    live.until(f'training_monitor_source_up{{instance="{sick.address}"}} == 1')
    scraped(live)
    down.up = False
    sick.set(metrics(well=False, lines=500))
    names = sorted(alert for alert, _ in ALERTS if alert not in KIND and alert != "TrainingPagesNotDelivered")
    for alert in names:
        address = down.address if alert == "TrainingMonitorDown" else sick.address
        live.recorder.wait(alert, instance=address)
    down.up = True
    sick.set(metrics(well=True, lines=500))
    for alert in names:
        live.recorder.wait(alert, "resolved")


def test_a_page_that_cannot_be_delivered_is_told_otherwise_and_arrives_in_the_end(live: Live) -> None:
    stub = live.stubs[0]
    stub.set(anomaly("undeliverable", "crashed", "critical", 0, 0))
    live.until('training_anomaly_active{run="undeliverable",kind="crashed"}')
    live.recorder.refuse = lambda labels: labels.get("run") == "undeliverable"
    stub.set(anomaly("undeliverable", "crashed", "critical", 1, 1))
    page = live.recorder.wait("TrainingPagesNotDelivered")
    assert page.labels["integration"] == "webhook"
    assert not live.recorder.of("TrainingRunCrashed", run="undeliverable")
    live.recorder.refuse = lambda labels: False
    live.recorder.wait("TrainingRunCrashed", run="undeliverable")
    stub.set([])
    live.recorder.wait("TrainingPagesNotDelivered", "resolved")
    live.recorder.wait("TrainingRunCrashed", "resolved", run="undeliverable")


def test_a_rise_to_critical_pages_and_holds_the_warning_back(live: Live) -> None:
    stub, run = live.stubs[0], "rising"

    def mfu(warnings: int, criticals: int, active: str) -> list[str]:
        return [
            *anomaly(run, "mfu_drop", "warning", warnings, active == "warning"),
            *anomaly(run, "mfu_drop", "critical", criticals, active == "critical"),
        ]

    stub.set(mfu(0, 0, ""))
    live.until(f'training_anomaly_active{{run="{run}"}}')
    scraped(live)
    stub.set(mfu(1, 0, "warning"))
    live.recorder.wait("TrainingMfuDrop", run=run, severity="warning")
    stub.set(mfu(1, 1, "critical"))
    critical = live.recorder.wait("TrainingMfuDrop", run=run, severity="critical")
    live.until(f'count_over_time(ALERTS{{run="{run}",alertstate="firing",severity="warning"}}[10s]) > 20')
    assert len(live.recorder.of("TrainingMfuDrop", run=run, severity="warning")) == 1
    assert not live.recorder.of("TrainingMfuDrop", "resolved", run=run)
    stub.set([])
    resolved = live.recorder.wait("TrainingMfuDrop", "resolved", run=run, severity="critical")
    assert resolved.at > critical.at


def test_a_crash_holds_back_what_follows_from_it(live: Live) -> None:
    stub, run = live.stubs[0], "follows"
    kinds = ("crashed", "stalled", "mfu_drop", "slowdown")
    stub.set([line for kind in kinds for line in anomaly(run, kind, "critical", 0, 0)])
    live.until(f'training_anomaly_active{{run="{run}"}}')
    scraped(live)
    stub.set([line for kind in kinds for line in anomaly(run, kind, "critical", 1, 1)])
    live.recorder.wait("TrainingRunCrashed", run=run)
    live.until(f'count_over_time(ALERTS{{run="{run}",alertname="TrainingRunStalled"}}[10s]) > 10')
    assert {p.alert for p in live.recorder.of(run=run)} == {"TrainingRunCrashed"}
    stub.set([])


def test_two_runs_of_the_same_name_on_two_machines_page_twice(live: Live) -> None:
    machines, run = live.stubs[:2], "twin"
    for count in (0, 1):
        for stub in machines:
            stub.set(anomaly(run, "non_finite_loss", "critical", count, count))
        live.until(f'count(training_anomaly_active{{run="{run}"}} == {count}) == 2')
        scraped(live)
    pages = [live.recorder.wait("TrainingLossNotFinite", run=run, instance=stub.address) for stub in machines]
    assert pages[0].labels["instance"] != pages[1].labels["instance"]
    for stub in machines:
        stub.set([])


def test_an_edited_rule_is_taken_up_and_a_broken_one_leaves_the_old_ones_in_force(live: Live) -> None:
    file = live.source / "prometheus/rules/alerts.yml"
    whole = file.read_text()
    loaded = "prometheus_config_last_reload_successful"
    try:
        file.write_text(whole.replace("alert: TrainingMfuDrop", "alert: TrainingMfuFell"))
        live.reload()
        wait_for(lambda: "TrainingMfuFell" in rules(live))
        file.write_text(whole.replace("max by", "max buy"))
        live.reload()
        wait_for(lambda: metric(live, loaded) == 0)
        assert "TrainingMfuFell" in rules(live)
    finally:
        file.write_text(whole)
        live.reload()
    wait_for(lambda: metric(live, loaded) == 1 and "TrainingMfuDrop" in rules(live))


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def metric(live: Live, name: str) -> float:
    return float(re.findall(rf"^{name} (\S+)$", live.fetch("/metrics"), re.M)[0])


def rules(live: Live) -> str:
    return live.fetch("/api/v1/rules")


def test_the_shipped_files_are_shortened_and_not_changed_otherwise(tmp_path: Path) -> None:
    folder = shortened(tmp_path)
    for name, changes in SHORTER.items():
        text = (folder / name).read_text()
        for old, new in reversed(changes.items()):
            text = text.replace(new, old)
        assert text == (ROOT / name).read_text()
