"""Training run: one run, or a few beside each other; what is wrong first."""

from __future__ import annotations

from boards import run_baseline, run_curves, run_now, run_speed, run_time, run_wrong
from boards.board import INSTANCE, INSTANCES, ONE_RUN, Row, dashboard, marks, variable
from boards.style import (
    RUN,
    Json,
)

NONE = "none"
#: A pseudo run called `none` stands first, so that nothing is compared until somebody asks.
BASELINES = (
    f'query_result(label_replace(vector(1), "run", "{NONE}", "", "") '
    "or max by (run) (max_over_time(training_run_state[$__range])))"
)


def variables() -> list[Json]:
    return [
        INSTANCES,
        variable(
            "run",
            "Run",
            f"label_values(training_run_state{{{INSTANCE}}}, run)",
            "The runs that are shown; several lie over each other in the curves.",
            multi=True,
        ),
        variable(
            "baseline",
            "Baseline run",
            BASELINES,
            "A run to compare with, of those seen in the time range.",
            regex='/run="(.*)"/',
            sort=0,
            current={"selected": True, "text": NONE, "value": NONE},
        ),
        {
            "type": "custom",
            "name": "smoothing",
            "label": "Smoothing",
            "description": "The smoothed curves are means over this time.",
            "query": "1m,5m,15m,1h,6h",
            "current": {"selected": True, "text": "5m", "value": "5m"},
            "options": [{"selected": t == "5m", "text": t, "value": t} for t in ("1m", "5m", "15m", "1h", "6h")],
            "hide": 0,
            "multi": False,
            "includeAll": False,
        },
        variable(
            "gpus",
            "GPUs",
            "query_result(count(DCGM_FI_DEV_GPU_UTIL) or vector(0))",
            "How many GPUs a DCGM exporter shows to this Prometheus.",
            regex=r"/.* ([0-9.]+) [0-9.]+/",
            hide=2,
        ),
    ]


def build() -> Json:
    rows = [
        Row("$run", *run_now.first_line(), *run_now.second_line(), repeat="run"),
        Row("Is it learning?", *run_curves.learning()),
        Row("Is it fast?", *run_speed.speed()),
        Row("What went wrong?", *run_wrong.wrong()),
        Row("How does it compare with the baseline?", *run_baseline.baseline()),
        Row("Where did the time go?", *run_time.time()),
        Row("What does the log say?", *run_time.facts()),
        Row("GPUs seen by the DCGM exporter: $gpus", *run_time.gpus(), collapsed=True),
    ]
    return dashboard(
        RUN,
        "Training run",
        "One training run, or a few beside each other: is it alive, is it learning, is it fast, what does it cost.",
        rows,
        variables(),
        annotations=marks(ONE_RUN, "15s"),
    )
