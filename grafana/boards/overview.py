"""Training overview: all runs, one row each, worst first."""

from __future__ import annotations

from boards.board import BY, INSTANCE, INSTANCES, Row, dashboard, marks, risen
from boards.panels import lines, query, say, stat, table
from boards.style import (
    ABSENT,
    BLUE,
    CRITICAL,
    EMPTY,
    FILLED,
    GREEN,
    NOTHING,
    OVERVIEW,
    PLAIN,
    RUN,
    STATES,
    WARNING,
    Json,
    below,
    fixed,
    limits,
    override,
    steps,
    words,
)

#: Runs shown as curves: the ones that moved last. More would be no picture.
LATEST = 12
ALARMING = 'severity=~"warning|critical"'
TO_RUN = (
    f"/d/{RUN}/{RUN}?${{datasource:queryparam}}&var-run=${{__data.fields.run:percentencode}}"
    "&var-instance=${__data.fields.instance:percentencode}&${__url_time_range}"
)
#: Column → name that people see.
COLUMNS = {
    "run": "Run",
    "state": "State",
    "Value #progress": "Progress",
    "Value #remaining": "Time left",
    "Value #loss": "Loss",
    "Trend": "Loss over time",
    "Trend #trend": "Loss over time",
    "Value #mfu": "MFU",
    "Value #usual": "of usual",
    "Value #duration": "Step time",
    "Value #cost": "Cost",
    "Value #anomalies": "Anomalies 24 h",
    "Value #alerts": "Alerts",
}


def one(metric: str) -> str:
    """The present value of each run."""
    return f"max {BY} ({metric}{{{INSTANCE}}})"


def runs_in(state: str) -> str:
    return f'sum(training_run_state{{{INSTANCE},state="{state}"}})'


def numbers() -> tuple[Json, ...]:
    states = [query(f"{runs_in(state)} or vector(0)", state, instant=True) for state in STATES if state != "waiting"]
    active = f"sum(training_anomaly_active{{{INSTANCE},{ALARMING}}}) or vector(0)"
    firing = f'count(ALERTS{{alertstate="firing",{INSTANCE}}}) or vector(0)'
    cost = [
        query(f"sum(training_cost_dollars{{{INSTANCE}}})", "so far", instant=True),
        query(f"sum(training_cost_estimated_dollars{{{INSTANCE}}})", "at the end", instant=True),
    ]
    return (
        stat(
            "Runs",
            "Runs by what their logs say; one leaves the list a day after its log stopped growing. "
            "Healthy: as many running as you started, none stalled or crashed.",
            states,
            unit="none",
            w=12,
            show="value_and_name",
            overrides=[
                override(state, thresholds=steps((PLAIN, None), (color, 1)))
                for state, color in STATES.items()
                if state != "waiting"
            ],
        ),
        stat(
            "Trouble",
            "Warnings and critical anomalies that go on now, and alerts that Prometheus has raised. Healthy: 0 and 0.",
            [query(active, "active anomalies", instant=True), query(firing, "firing alerts", instant=True)],
            unit="none",
            w=6,
            show="value_and_name",
            overrides=[
                override("active anomalies", thresholds=steps((PLAIN, None), (WARNING, 1))),
                override("firing alerts", thresholds=steps((PLAIN, None), (CRITICAL, 1))),
            ],
        ),
        stat(
            "Cost of all runs",
            "US dollars so far and at the planned ends, at the prices in exporter.yml (cost.usd_per_gpu_hour).",
            cost,
            unit="currencyUSD",
            w=6,
            show="value_and_name",
            empty="no price set",
        ),
    )


#: Every run without a value; where there is none, a row that says so.
EACH = f"group {BY} (training_run_state{{{INSTANCE}}}) * NaN or " + say(
    f"absent(training_run_state{{{INSTANCE}}}) * NaN", EMPTY, instance="–"
)


def column(expr: str, ref: str) -> Json:
    """A query of the table. It is never empty: Grafana's sparklines would take that for a series of time."""
    return query(f"{expr} or ({EACH} unless on () {expr})", table=True, ref=ref)


def trend(expr: str) -> str:
    """Only of runs that have some points in the time range: a sparkline of one point hangs Grafana (seen in 9.5)."""
    return f"{expr} and count_over_time(({expr})[$__range:$__interval] @ end()) >= 3"


def all_runs() -> Json:
    states = f"max by (run, instance, state) (training_run_state{{{INSTANCE}}} == 1)"
    none = say(f"absent(training_run_state{{{INSTANCE}}})", EMPTY, instance="–", state="waiting")
    anomalies = f"sum {BY} (increase(training_anomalies_total{{{INSTANCE},{ALARMING}}}[24h]))"
    firing = f'count {BY} (ALERTS{{alertstate="firing",run!="",{INSTANCE}}})'
    every = f"group {BY} (training_run_state{{{INSTANCE}}})"
    queries = [
        query(f"{states} or {none}", table=True, ref="state"),
        column(one("training_progress_ratio"), "progress"),
        column(one("training_remaining_seconds"), "remaining"),
        column(one("training_loss"), "loss"),
        query(trend(one("training_loss")), ref="trend"),
        column(one("training_mfu_ratio"), "mfu"),
        column(f"{one('training_mfu_recent_ratio')} / {one('training_mfu_baseline_ratio')}", "usual"),
        column(one("training_step_duration_seconds"), "duration"),
        column(one("training_cost_dollars"), "cost"),
        column(f"round({anomalies})", "anomalies"),
        column(f"({firing} or {every} * 0)", "alerts"),
    ]
    return table(
        "All runs",
        "One row for each run, the ones with alerts first; click a name for the run's own dashboard. "
        "Healthy: state running or finished, MFU near 100 % of the run's usual, no anomalies, no alerts.",
        queries,
        h=10,
        columns=tuple(COLUMNS),
        hidden=("Time", "Value #state"),
        sort=[("Alerts", True), ("Anomalies 24 h", True), ("Run", False)],
        first=[{"id": "timeSeriesTable", "options": {}}],
        max_points=100,
        overrides=[*columns(), *names()],
    )


def names() -> list[Json]:
    return [override(field, displayName=shown) for field, shown in COLUMNS.items()]


def columns() -> list[Json]:
    """How each column looks."""
    warning, critical = limits("mfu_drop")
    gauge = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
    spark = {
        "type": "sparkline",
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 10,
        "hideValue": True,
        "axisPlacement": "hidden",
    }
    open_run = [{"title": "Open this run", "url": TO_RUN}]
    return [
        override("run", links=open_run, custom_filterable=True, custom_minWidth=160),
        override("instance", custom_hidden=True),
        override("state", custom_cellOptions=FILLED, mappings=words(STATES), custom_width=90, custom_filterable=True),
        override(
            "Value #progress",
            mappings=[ABSENT],
            unit="percentunit",
            min=0,
            max=1,
            decimals=0,
            custom_cellOptions=gauge,
            custom_width=130,
            thresholds=steps((BLUE, None), (GREEN, 1)),
        ),
        override("Value #remaining", mappings=[ABSENT], unit="s", decimals=1, custom_width=95),
        override("Value #loss", unit="none", decimals=4, custom_width=80),
        override("^Trend", regex=True, custom_cellOptions=spark, color=fixed(BLUE), custom_width=130),
        override("Value #mfu", mappings=[ABSENT], unit="percentunit", decimals=1, custom_width=75),
        override(
            "Value #usual",
            unit="percentunit",
            decimals=0,
            custom_width=80,
            custom_cellOptions=FILLED,
            thresholds=below(1 - warning, 1 - critical, base=NOTHING),
            mappings=[ABSENT],
        ),
        override("Value #duration", mappings=[ABSENT], unit="s", decimals=2, custom_width=90),
        override("Value #cost", mappings=[ABSENT], unit="currencyUSD", custom_width=85),
        override(
            "Value #anomalies",
            mappings=[ABSENT],
            unit="none",
            custom_width=128,
            custom_cellOptions=FILLED,
            thresholds=steps((NOTHING, None), (WARNING, 1)),
        ),
        override(
            "Value #alerts",
            mappings=[ABSENT],
            unit="none",
            custom_width=80,
            custom_cellOptions=FILLED,
            thresholds=steps((NOTHING, None), (CRITICAL, 1)),
        ),
    ]


def curves() -> tuple[Json, ...]:
    latest = f"topk({LATEST}, training_last_step_timestamp_seconds{{{INSTANCE}}} @ end())"

    def of_latest(expr: str) -> str:
        return f"{expr} and on (run, instance) {latest}"

    usual = f"training_mfu_recent_ratio{{{INSTANCE}}} / training_mfu_baseline_ratio{{{INSTANCE}}}"
    anomalies = f"sum by (kind) ({risen(f'training_anomalies_total{{{INSTANCE},{ALARMING}}}')})"
    warning, critical = limits("mfu_drop")
    return (
        lines(
            f"Loss of the {LATEST} latest runs",
            "Training loss as each log shows it, nats per token. Healthy: falls ever more slowly.",
            [query(of_latest(f"training_loss{{{INSTANCE}}}"), "{{run}}")],
            unit="none",
            w=8,
            h=9,
            axis="nats per token",
        ),
        lines(
            f"MFU of the {LATEST} latest runs, of their usual",
            "The running median of each run's MFU over its own baseline. Healthy: flat at 100 %. "
            f"The lines are the thresholds: −{warning:.0%} warns, −{critical:.0%} pages.",
            [query(of_latest(usual), "{{run}}")],
            unit="percentunit",
            w=8,
            h=9,
            axis="of usual",
            threshold_style="dashed",
            thresholds=below(1 - warning, 1 - critical, base=NOTHING),
        ),
        lines(
            "New anomalies",
            "Warnings and critical anomalies of all runs, at the moment when they began. Healthy: empty.",
            [query(f"{anomalies} > 0", "{{kind}}")],
            unit="none",
            empty="no anomaly in this time",
            w=8,
            h=9,
            axis="anomalies",
            bars=True,
            stacked=True,
            min=0,
            decimals=0,
            interval="1m",
        ),
    )


def build() -> Json:
    return dashboard(
        OVERVIEW,
        "Training overview",
        "All training runs at a glance. " + EMPTY.replace("No run yet: p", "If it is empty: p") + ".",
        [Row("", *numbers()), Row("", all_runs()), Row("", *curves())],
        [INSTANCES],
        span="24h",
        annotations=[a for a in marks(INSTANCE, "60s") if a["name"] != "Warnings"],
    )
