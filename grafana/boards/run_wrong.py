"""What went wrong in a run: anomalies, alerts, error lines."""

from __future__ import annotations

from boards.board import ONE_RUN
from boards.panels import query, say, table
from boards.style import (
    CRITICAL,
    FILLED,
    NOTHING,
    RUNBOOKS,
    SEVERITIES,
    WARNING,
    Json,
    numbers,
    override,
    rises_above,
    steps,
)

NONE = "no anomaly so far"


def wrong() -> tuple[Json, ...]:
    by = "by (run, kind)"
    going_on = " or ".join(
        f'max {by} (training_anomaly_active{{{ONE_RUN},severity="{word}"}} == 1) * {number}'
        for number, (word, _) in reversed(SEVERITIES.items())
    )
    day = f"sum {by} (increase(training_anomalies_total{{{ONE_RUN}}}[24h]))"
    anomalies = [
        query(f"max {by} (training_anomaly_last_step{{{ONE_RUN}}})", table=True, ref="step"),
        query(going_on, table=True, ref="active"),
        query(f"max {by} (training_anomaly_last_value{{{ONE_RUN}}})", table=True, ref="value"),
        query(f"max {by} (training_anomaly_last_expected{{{ONE_RUN}}})", table=True, ref="expected"),
        query(f"round({day}) > 0", table=True, ref="day"),
    ]
    firing = [
        query(f'max by (run, alertname, severity) (ALERTS{{alertstate="firing",{ONE_RUN}}})', table=True, ref="firing")
    ]
    return (
        table(
            "Anomalies by kind",
            "The last anomaly of each kind: where it began, what was seen and expected there, whether it goes on. "
            "Healthy: empty, or old steps only.",
            anomalies,
            w=12,
            h=8,
            unit="short",
            columns=("kind", "Value #active", "Value #step", "Value #value", "Value #expected", "Value #day", "run"),
            hidden=("Time",),
            sort=[("At step", True)],
            empty=NONE,
            nothing=say(f"absent(training_anomaly_last_step{{{ONE_RUN}}})", "–", kind=NONE),
            decimals=4,
            overrides=[
                override("run", displayName="Run"),
                override(
                    "kind",
                    displayName="Anomaly",
                    custom_minWidth=150,
                    links=[{"title": "What to do", "url": RUNBOOKS, "targetBlank": True}],
                ),
                override(
                    "Value #active",
                    displayName="Now",
                    mappings=numbers(SEVERITIES),
                    custom_cellOptions=FILLED,
                    custom_width=80,
                    noValue="over",
                    thresholds=steps((NOTHING, None)),
                ),
                override("Value #step", displayName="At step", unit="locale", decimals=0, custom_width=85),
                override("Value #value", displayName="Seen", custom_width=80),
                override("Value #expected", displayName="Expected", custom_width=80),
                override("Value #day", displayName="In 24 h", decimals=0, noValue="0", custom_width=70),
            ],
        ),
        table(
            "Firing alerts",
            "Alerts that Prometheus has raised about this run; the name opens the runbook. Healthy: empty.",
            firing,
            w=7,
            h=8,
            unit="none",
            columns=("alertname", "severity", "run"),
            hidden=("Time", "Value", "Value #firing"),
            empty="no alert fires",
            overrides=[
                override("run", displayName="Run"),
                override(
                    "alertname",
                    displayName="Alert",
                    custom_minWidth=190,
                    links=[
                        {
                            "title": "Runbook",
                            "url": f"{RUNBOOKS}#${{__data.fields.alertname}}",
                            "targetBlank": True,
                        }
                    ],
                ),
                override(
                    "severity",
                    displayName="Severity",
                    custom_cellOptions=FILLED,
                    custom_width=90,
                    mappings=[
                        {
                            "type": "value",
                            "options": {
                                "warning": {"color": WARNING, "index": 0, "text": "warning"},
                                "critical": {"color": CRITICAL, "index": 1, "text": "critical"},
                            },
                        }
                    ],
                ),
            ],
        ),
        table(
            "Error lines in the log",
            "Lines that report an error, by kind: cuda_oom, traceback, nccl_timeout, … Healthy: none.",
            [query(f"sum by (run, kind) (training_errors_total{{{ONE_RUN}}} > 0)", table=True)],
            w=5,
            h=8,
            unit="none",
            columns=("kind", "Value", "run"),
            hidden=("Time",),
            sort=[("Lines", True)],
            empty="no error in the log",
            overrides=[
                override("run", displayName="Run"),
                override("kind", displayName="Error"),
                override("Value", displayName="Lines", **rises_above(1)),
            ],
        ),
    )
