"""Writes rules/alerts.yml from the threshold table and the advice, so that rules, exporter and runbooks cannot drift.

    python prometheus/generate.py [--grafana URL] [--runbooks URL] [--check]

The two addresses stand in every alert; `--check` writes nothing and exits 1 if the file is not what would be written.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

from training_monitor.detect import stall
from training_monitor.detect.thresholds import Thresholds
from training_monitor.report.advice import ADVICE, Advice

FILE = Path(__file__).parent / "rules" / "alerts.yml"
GRAFANA = "http://localhost:3000"
RUNBOOKS = "https://github.com/training-monitor/training-monitor/blob/main/docs/runbooks.md"

EVENT = "10m"  # an event stays visible for so long: longer than a restart of Prometheus, so that none is lost
HELD = "1m"  # a gauge must be beyond its threshold at every scrape of this time
KEEP = "5m"  # a condition that comes and goes stays one alert
CRITICAL, WARNING = 'severity="critical"', 'severity=~"warning|critical"'
STEPPED = f"changes(training_step[{HELD}]) > 0"
IS_OVER = 'unless on (job, instance, run) training_run_state{state="finished"} == 1'
TABLE = Thresholds().table()
LIMITS = {**TABLE, ("stalled", "warning"): 1, ("stalled", "critical"): stall.CRITICAL}

HEADER = """\
# Alerts, in triage order: is it there, is it moving, is it right, is it slow, is it worth it.
# Written by prometheus/generate.py from the threshold table and the advice; a test fails when they differ.
#
# An alert about a run has up to three ways to fire, because each one alone misses something:
#   increase(training_anomalies_total[…])  an event: exact to the step, even if it lasts one step between two scrapes
#   training_anomaly_active                a condition that goes on, for as long as it goes on
#   a gauge beyond the number of the table a second opinion, by Prometheus itself. It steps aside where exporter.yml
#                                          sets another threshold: then the exporter's events decide alone
# A warning includes critical events (Alertmanager inhibits it while the critical one fires), so that it neither
# resolves nor repeats when the severity changes. A run that finished raises no alert.
groups:
"""

#: First in the group of the alerts that use it, so that they see the same scrape. The baselines are the exporter's:
#: robust, and taken over steps, which PromQL cannot do.
RECORDS = {
    "run:training_loss:ratio_to_baseline": "training_loss / (training_loss_baseline > 0)",
    "run:training_mfu:lost_ratio": "1 - training_mfu_recent_ratio / (training_mfu_baseline_ratio > 0)",
    "run:training_step_duration:ratio_to_baseline": (
        "training_step_duration_recent_seconds / (training_step_duration_baseline_seconds > 0)"
    ),
}


@dataclass(frozen=True)
class Alert:
    """One rule. `value` says what is wrong in numbers, `advice` what it means and what to do."""

    name: str
    severity: str
    expr: str
    summary: str
    value: str
    advice: Advice
    dashboard: str
    wait: str = ""  # `for`
    keep: str = KEEP  # `keep_firing_for`


def block(text: str) -> str:
    return f"\n{indent(text, '  ')}\n"


def literal(key: str, text: str, spaces: int) -> str:
    return indent(f"{key}: |-{block(text)}", " " * spaces)


MONITOR = (
    Alert(
        "TrainingMonitorDown",
        "critical",
        'up{job="training-monitor"} == 0\nor\nabsent(up{job="training-monitor"})',
        "Training monitor is down",
        "Prometheus has had no metrics from the exporter{{ with $labels.instance }} at {{ . }}{{ end }} for 2 minutes.",
        Advice(
            "",
            "Nobody watches the runs: a crash or a loss spike would go unnoticed now.",
            "Read the last lines of the exporter's log (docker compose logs exporter).",
            (
                "Start it again if it does not run; it goes on where it stopped and misses nothing.",
                "Open /-/ready: 503 means that it is still reading a large log for the first time, so wait.",
                "Check the address in prometheus/targets/exporter.yml and whether a firewall is between.",
            ),
        ),
        "training-exporter",
        wait="2m",
        keep="",
    ),
    Alert(
        "TrainingLogUnreadable",
        "warning",
        "training_monitor_source_up == 0\n"
        f"unless on (job, instance, source, run) training_monitor_source_waiting == 1\n{IS_OVER}",
        "Log of run {{ $labels.run }} cannot be read",
        "{{ $labels.source }} could not be read for 1 minute.",
        Advice(
            "",
            "The run goes on unwatched: none of its steps is seen.",
            "Read the exporter's log: it says why (permission denied, input/output error, …).",
            (
                "Check owner and mode of the file and of every folder above it for the exporter's user.",
                "In Docker, set STACK_UID in .env to the owner of the logs.",
                "If the file is on a network file system, check that it is mounted and answers (ls, df).",
            ),
        ),
        "training-exporter",
        wait="1m",
        keep="",
    ),
    Alert(
        "TrainingLogNotParsed",
        "warning",
        "increase(training_monitor_source_lines_total[15m]) >= 100\n"
        "and\n"
        "training_monitor_source_parsed_lines_total == 0",
        "Log of run {{ $labels.run }} is not understood",
        '{{ $labels.source }} grew by {{ printf "%.0f" $value }} lines in 15 minutes and none of them was understood.',
        Advice(
            "",
            "The log is of an unknown format or no training log at all, so nothing can be said about the run.",
            "Compare a line of the log with the ones that `training-monitor formats` prints.",
            (
                "If it is no training log, leave it out of sources.paths in exporter.yml.",
                "If the format is known but not recognised, name it in sources.format.",
                "For a format of your own, write a pattern in sources.regex.",
            ),
        ),
        "training-exporter",
        keep="",
    ),
    Alert(
        "TrainingStateNotSaved",
        "warning",
        "increase(training_monitor_state_save_failures_total[10m]) >= 2",
        "Training monitor cannot save its state",
        'The exporter at {{ $labels.instance }} failed {{ printf "%.0f" $value }} times in 10 minutes to save.',
        Advice(
            "",
            "It still watches, but after a restart it would read every log again from the beginning.",
            "Read the exporter's log: it names the directory and the error.",
            (
                "Check that the disk of the state directory is not full (df, df -i).",
                "Check that the exporter's user may write there; state.dir in exporter.yml says where it is.",
            ),
        ),
        "training-exporter",
    ),
    Alert(
        "TrainingConfigNotLoaded",
        "warning",
        "training_monitor_config_last_reload_successful == 0",
        "Training monitor refused its configuration",
        "The exporter at {{ $labels.instance }} refused the new exporter.yml and goes on with the one before.",
        Advice(
            "",
            "What you changed is not in force.",
            "Run `training-monitor check-config exporter.yml`: it names every error at once.",
            ("Correct the file and reload again (SIGHUP).",),
        ),
        "training-exporter",
        wait="1m",
        keep="",
    ),
    Alert(
        "TrainingPagesNotDelivered",
        "warning",
        "sum by (job, instance, integration) (increase(alertmanager_notifications_failed_total[10m])) > 0",
        "Pages by {{ $labels.integration }} do not arrive",
        "Alertmanager at {{ $labels.instance }} could not deliver by {{ $labels.integration }} in the last 10 minutes.",
        Advice(
            "",
            "The next page may not arrive either.",
            "Read Alertmanager's log: it says what the receiver answered (docker compose logs alertmanager).",
            (
                "Check the secret file in alertmanager/secrets; docker-compose.yml says how to take a new one up.",
                "Check that the receiver's address can be reached from this machine.",
            ),
        ),
        "training-exporter",
    ),
)

#: Go templates that ask for a number and show it, then what there is to ask for: the latest event of this kind, or the
#: present gauges where the alert fired without one. An alert gets the lines that it uses.
PREAMBLE = """\
{{- define "number" }}{{ with query . }}{{ first . | value | printf "%.4g" }}{{ else }}unknown{{ end }}{{ end -}}
{{- define "whole" }}{{ with query . }}{{ first . | value | printf "%.0f" }}{{ else }}unknown{{ end }}{{ end -}}
{{- define "cents" }}{{ with query . }}{{ first . | value | printf "%.2f" }}{{ else }}unknown{{ end }}{{ end -}}
{{- define "percent" }}{{ with query . }}{{ first . | value | humanizePercentage }}{{ else }}unknown{{ end }}{{ end -}}
{{- define "time" }}{{ with query . }}{{ first . | value | humanizeDuration }}{{ else }}unknown{{ end }}{{ end -}}
{{- $run := printf "instance=%q,run=%q" $labels.instance $labels.run -}}
{{- $event := printf "%s,kind=%q" $run "KIND" -}}
{{- $step := printf "training_anomaly_last_step{%s} or on (run) training_step{%s}" $event $run -}}
{{- $value := printf "training_anomaly_last_value{%s} or on (run) VALUE{%s}" $event $run -}}
{{- $expected := printf "training_anomaly_last_expected{%s} or on (run) EXPECTED{%s}" $event $run -}}
{{- $ratio := printf "(%s) / on (run) (%s)" $value $expected -}}
{{- $change := printf "(%s) / on (run) (%s) - 1" $value $expected -}}
{{- $steps := printf "training_steps_since_improvement{%s}" $run -}}
{{- $silence := printf "time() - training_last_step_timestamp_seconds{%s}" $run -}}
{{- $allowed := printf "training_stall_after_seconds{%s}" $run -}}
{{- $errors := printf "training_errors_total{%s} > 0" $run | query | sortByLabel "kind" -}}
"""


def show(name: str, form: str = "number") -> str:
    """The template that shows `$name` of the preamble."""
    return f'{{{{ template "{form}" ${name} }}}}'


@dataclass(frozen=True)
class Kind:
    """How one kind of anomaly is told, and what else than events tells of it."""

    name: str
    severities: tuple[str, ...]
    told: str  # after "Step N: "
    gauge: str = ""  # expression in which {limit} is the number of the table
    now: tuple[str, str] = ("", "")  # gauges that stand in for value and expectation where there is no event


BOTH = ("warning", "critical")
KINDS = {
    "crashed": Kind(
        "TrainingRunCrashed",
        ("critical",),
        "the log shows {{ range $i, $e := $errors }}{{ if $i }}, {{ end }}{{ $e.Labels.kind }}"
        "{{ else }}a fatal error{{ end }}.",
    ),
    "stalled": Kind(
        "TrainingRunStalled",
        BOTH,
        f"no new one for {show('silence', 'time')}, where this run's own rhythm allows {show('allowed', 'time')}.",
        "time() - max by (job, instance, run) (training_monitor_source_last_change_timestamp_seconds)\n"
        "  > {limit} * training_stall_after_seconds\n"
        'and on (job, instance, run) training_run_state{{state="running"}} == 1',
    ),
    "non_finite_loss": Kind(
        "TrainingLossNotFinite",
        ("critical",),
        f"the loss is {show('value')}, where {show('expected')} was usual.",
        now=("training_loss", "training_loss_baseline"),
    ),
    "loss_spike": Kind(
        "TrainingLossSpike",
        BOTH,
        f"loss {show('value')}, where {show('expected')} is the recent level ({show('ratio', 'cents')} times).",
        "run:training_loss:ratio_to_baseline >= {limit}",
        ("training_loss", "training_loss_baseline"),
    ),
    "loss_divergence": Kind(
        "TrainingLossDiverging", BOTH, f"loss {show('value')}, up from {show('expected')} and rising."
    ),
    "grad_norm_spike": Kind(
        "TrainingGradNormSpike",
        BOTH,
        f"gradient norm {show('value')}, where {show('expected')} is the recent level "
        f"({show('ratio', 'cents')} times).",
    ),
    "plateau": Kind("TrainingLossPlateau", BOTH, f"no improvement of the loss for {show('steps', 'whole')} steps."),
    "mfu_drop": Kind(
        "TrainingMfuDrop",
        BOTH,
        f"MFU {show('value', 'percent')}, where {show('expected', 'percent')} is usual ({show('change', 'percent')}).",
        f"min_over_time(run:training_mfu:lost_ratio[{HELD}]) >= {{limit}}",
        ("training_mfu_recent_ratio", "training_mfu_baseline_ratio"),
    ),
    "slowdown": Kind(
        "TrainingSlowdown",
        BOTH,
        f"a step takes {show('value', 'time')}, where {show('expected', 'time')} is usual "
        f"({show('ratio', 'cents')} times).",
        f"min_over_time(run:training_step_duration:ratio_to_baseline[{HELD}]) >= {{limit}}",
        ("training_step_duration_recent_seconds", "training_step_duration_baseline_seconds"),
    ),
    "over_budget": Kind(
        "TrainingOverBudget",
        BOTH,
        f"the cost comes to {show('value', 'cents')}; the budget is {show('expected', 'cents')}.",
    ),
    "behind_baseline": Kind(
        "TrainingBehindBaseline",
        ("warning",),
        f"loss {show('value')}, where the baseline run had {show('expected')} at the same step.",
    ),
}


def run_alerts() -> Iterator[Alert]:
    for kind, k in KINDS.items():
        for severity in k.severities:
            yield Alert(
                k.name,
                severity,
                expression(kind, k, severity),
                f"{ADVICE[kind].title} in run {{{{ $labels.run }}}}",
                told(kind, k),
                ADVICE[kind],
                "training-run?var-instance={{ $labels.instance | urlquery }}&var-run={{ $labels.run | urlquery }}",
            )


def told(kind: str, k: Kind) -> str:
    """The sentence of an alert with the lines of the preamble that it uses."""
    text = f"{'Last step' if kind in ('crashed', 'stalled') else 'Step'} {show('step', 'whole')}: {k.told}"
    for line in reversed(PREAMBLE.splitlines()):
        name = re.findall(r'define ("\w+")|(\$\w+) :=', line)[0]
        if re.search(re.escape(name[0] or name[1]) + r"(?!\w)", text):
            text = f"{line}\n{text}"
    for word, metric in zip(("VALUE", "EXPECTED"), k.now, strict=True):
        instead = f' or on (run) {word}{{%s}}" $event $run'
        text = text.replace(instead, instead.replace(word, metric) if metric else '" $event')
    return text.replace("KIND", kind)


def expression(kind: str, k: Kind, severity: str) -> str:
    """Fires on an event, while the condition lasts, or where a gauge is beyond the table's number."""
    only_critical = severity == "critical" and k.severities == BOTH
    series = f'{{kind="{kind}",{CRITICAL if only_critical else WARNING}}}'
    ways = [f"max by (job, instance, run) (training_anomaly_active{series}) > 0"]
    if kind != "stalled":  # once a stall is over, nobody needs a page for it
        ways.insert(0, f"sum by (job, instance, run) (increase(training_anomalies_total{series}[{EVENT}])) > 0")
    limit = f"{LIMITS.get((kind, severity), 0):g}"
    elsewhere = f'training_anomaly_threshold{{kind="{kind}",severity="{severity}"}} != {limit}'
    if kind == "loss_spike" and severity == "warning":  # one odd batch is no warning: two logged steps
        ways.append(f"min_over_time(run:training_loss:ratio_to_baseline[{HELD}]) >= {limit} and {STEPPED}")
    elif k.gauge:
        ways.append(k.gauge.format(limit=limit))
    if k.gauge and (kind, severity) in TABLE:
        ways[-1] += f"\nunless on (job, instance) {elsewhere}"
    fires = "\nor\n".join(ways)
    if kind == "plateau":  # half of all healthy training is flat by this number alone: it gates the detector
        gate = f"training_steps_since_improvement < {limit}\nunless on (job, instance) {elsewhere}"
        fires = f"({block(fires)})\nunless on (job, instance, run) ({block(gate)})"
    return f"({block(fires)})\n{IS_OVER}"


def rule(alert: Alert, grafana: str, runbooks: str) -> str:
    advice = alert.advice
    actions = "\n".join(f"{i}. {action}" for i, action in enumerate(advice.actions, 1))
    return (
        f"\n      - alert: {alert.name}\n"
        + literal("expr", alert.expr, 8)
        + (f"        for: {alert.wait}\n" if alert.wait else "")
        + (f"        keep_firing_for: {alert.keep}\n" if alert.keep else "")
        + f"        labels:\n          severity: {alert.severity}\n        annotations:\n"
        + f"          summary: {quoted(alert.summary)}\n"
        + literal("description", f"{alert.value}\n{advice.meaning}", 10)
        + literal("action", f"{advice.look_first}\n{actions}", 10)
        + f"          dashboard_url: {quoted(f'{grafana}/d/{alert.dashboard}')}\n"
        + f"          runbook_url: {runbooks}#{alert.name.lower()}\n"
    )


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'" if re.search(r"[{}:#]", text) else text


def document(grafana: str = GRAFANA, runbooks: str = RUNBOOKS) -> str:
    """The whole of alerts.yml."""
    records = "".join(f"\n      - record: {name}\n        expr: {expr}\n" for name, expr in RECORDS.items())
    monitor = "".join(rule(alert, grafana, runbooks) for alert in MONITOR)
    run = "".join(rule(alert, grafana, runbooks) for alert in run_alerts())
    return f"{HEADER}  - name: training-monitor\n    rules:{monitor}\n  - name: training-run\n    rules:{records}{run}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Writes prometheus/rules/alerts.yml.")
    parser.add_argument("--grafana", default=GRAFANA, help="address of Grafana in the links (default: %(default)s)")
    parser.add_argument("--runbooks", default=RUNBOOKS, help="address of docs/runbooks.md (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file is out of date")
    args = parser.parse_args(argv)
    text = document(args.grafana.rstrip("/"), args.runbooks)
    if args.check:
        if FILE.read_text(encoding="utf-8") == text:
            return 0
        print(
            f"{FILE} is not what the thresholds and the advice say; run: python prometheus/generate.py", file=sys.stderr
        )
        return 1
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
