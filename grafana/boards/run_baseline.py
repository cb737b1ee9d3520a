"""A run beside a baseline run, at the same step."""

from __future__ import annotations

from boards.board import ONE_RUN
from boards.panels import query, say, table
from boards.step_axis import BASELINE, against_step, last_curve, nothing
from boards.style import (
    Json,
    falls_below,
    override,
    rises_above,
)
from training_monitor.config import RunConfig

CONFIGURE = "set baseline.log in exporter.yml"
CHOOSE = "choose a baseline run above"
#: What counts as behind the baseline: baseline.behind_ratio of the configuration, as it is by default.
BEHIND = RunConfig().behind_ratio

COMPARED = {
    "baseline": "Baseline run",
    "Value #step": "At step",
    "Value #loss": "Loss",
    "Value #its_loss": "base",
    "Value #loss_ratio": "Loss ×",
    "Value #ahead": "Ahead",
    "Value #mfu": "MFU",
    "Value #its_mfu": "base ",
    "Value #mfu_ratio": "MFU ×",
    "Value #duration": "Step time",
    "Value #its_duration": "base  ",
    "Value #duration_ratio": "Time ×",
}


def baseline() -> tuple[Json, ...]:
    def of(metric: str, ref: str) -> Json:
        return query(f"max by (run) ({metric}{{{ONE_RUN}}} and on (run, instance) {known})", table=True, ref=ref)

    known = f"training_baseline_info{{{ONE_RUN}}}"
    configured = [
        query(f"max by (run, baseline) ({known})", table=True, ref="info"),
        of("training_step", "step"),
        of("training_loss", "loss"),
        of("training_baseline_loss", "its_loss"),
        of("training_loss_vs_baseline_ratio", "loss_ratio"),
        of("training_baseline_steps_ahead", "ahead"),
        of("training_mfu_ratio", "mfu"),
        of("training_baseline_mfu_ratio", "its_mfu"),
        of("training_mfu_vs_baseline_ratio", "mfu_ratio"),
        of("training_step_duration_seconds", "duration"),
        of("training_baseline_step_duration_seconds", "its_duration"),
        of("training_step_duration_vs_baseline_ratio", "duration_ratio"),
    ]
    names = {"run": "Run", **COMPARED}
    share: Json = {"unit": "percentunit", "decimals": 1}
    return (
        table(
            "At the same step, against the baseline of exporter.yml",
            "Each run beside the baseline run that exporter.yml names (baseline.log), at the same step. "
            "Healthy: loss × at most 1, MFU × about 1, step time × about 1, steps ahead not negative.",
            configured,
            h=4,
            unit="none",
            columns=tuple(names),
            hidden=("Time", "Value #info"),
            empty=CONFIGURE,
            nothing=say(f"absent({known})", CONFIGURE, baseline="–"),
            decimals=3,
            overrides=[
                *(override(field, displayName=shown) for field, shown in names.items()),
                override("Value #step", unit="locale", decimals=0),
                override("Value #ahead", unit="locale", decimals=0, **falls_below(0)),
                override("Value #loss_ratio", **rises_above(BEHIND)),
                override("Value #mfu", **share),
                override("Value #its_mfu", **share),
                override("Value #mfu_ratio", **falls_below(1 / BEHIND)),
                override("Value #duration", unit="s", decimals=1),
                override("Value #its_duration", unit="s", decimals=1),
                override("run", custom_minWidth=230),
                override("baseline", custom_minWidth=130),
                override("Value #duration_ratio", **rises_above(BEHIND)),
            ],
        ),
        *chosen(),
    )


def chosen() -> tuple[Json, ...]:
    mine, its = last_curve(ONE_RUN), f"max by (step) ({last_curve(BASELINE)})"
    ratio = f"{mine} / on (step) group_left () {its}"
    queries = [
        query(f"{mine} and on (step) {its}", table=True, ref="mine"),
        query(f"group by (run, step) ({mine}) * on (step) group_left () {its}", table=True, ref="its"),
        query(ratio, table=True, ref="ratio"),
    ]
    to_number = {
        "id": "convertFieldType",
        "options": {"fields": {}, "conversions": [{"targetField": "step", "destinationType": "number"}]},
    }
    return (
        table(
            "At the same step, against the baseline run chosen above",
            "Loss of both runs at every step that both curves have, the latest first. Healthy: × at most 1.",
            queries,
            w=12,
            h=8,
            unit="none",
            columns=("run", "step", "Value #mine", "Value #its", "Value #ratio"),
            hidden=("Time",),
            sort=[("Step", True)],
            last=[to_number],
            empty=CHOOSE,
            nothing=nothing(BASELINE, CHOOSE),
            decimals=4,
            overrides=[
                override("run", displayName="Run"),
                override("step", displayName="Step", unit="locale", decimals=0, custom_width=80),
                override("Value #mine", displayName="Loss", custom_width=100),
                override("Value #its", displayName="Baseline's", custom_width=100),
                override("Value #ratio", displayName="Loss ×", custom_width=90, **rises_above(BEHIND)),
            ],
        ),
        against_step(
            "Loss over the chosen baseline's, against step",
            "Loss of each run divided by the baseline run's at the same step. Healthy: at most 1.",
            f"{ratio} or {nothing(BASELINE, CHOOSE)}",
            h=8,
            axis="× baseline",
            empty=CHOOSE,
        ),
    )
