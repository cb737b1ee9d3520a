"""Curves over the steps of a run, whenever it ran."""

from __future__ import annotations

from typing import Any

from boards.board import INSTANCE, ONE_RUN
from boards.panels import panel, query, say
from boards.style import (
    EMPTY,
    Json,
    override,
)

BASELINE = f"{INSTANCE},run=~`${{baseline:regex}}`"


def against_step(
    title: str, description: str, expr: str, *, log: bool = False, w: int = 12, h: int = 9, **more: Any
) -> Json:
    """A curve for each run over its steps.

    `expr`: present values with the labels run and step; they become one row a step and one column a run. The options
    are in the form before Grafana 10.4 and without a plugin version: 9.5 draws them, later versions migrate them.
    The columns are joined and not grouped into a matrix, because the chart takes a null for 0 where its axis reaches 0;
    what a join does not find is undefined and left out of the line.
    """
    scale = {"type": "log", "log": 10} if log else {"type": "linear"}
    custom = {
        "axisLabel": more.pop("axis", "nats per token"),
        "axisPlacement": "auto",
        "lineStyle": {"fill": "solid"},
        "lineWidth": 2,
        "pointSize": {"fixed": 3},
        "scaleDistribution": {"type": "log", "log": 2} if log else {"type": "linear"},
        "show": "points+lines",
    }
    options = {
        "dims": {"frame": 0, "x": "step"},
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": not log},
        "series": [],
        "seriesMapping": "auto",
        "tooltip": {"mode": "single", "sort": "none"},
    }
    number = {"targetField": "step", "destinationType": "number"}
    transformations = [
        {"id": "convertFieldType", "options": {"fields": {}, "conversions": [number]}},
        {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": "step", "desc": False}]}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": {}}},
        {"id": "partitionByValues", "options": {"fields": ["run"], "naming": {"asLabels": True}, "keepFields": False}},
        {"id": "joinByField", "options": {"byField": "step", "mode": "outer"}},
    ]
    step = override("step", custom_axisLabel="step", custom_scaleDistribution=scale, unit="short")
    return panel(
        "xychart",
        title,
        description,
        [query(expr, table=True)],
        unit="none",
        w=w,
        h=h,
        options=options,
        custom=custom,
        transformations=transformations,
        overrides=[step, *more.pop("overrides", ())],
        **more,
    )


def last_curve(selector: str) -> str:
    """The curve over steps as it was last seen in the time range, so that a run that is over still has one.

    A curve grows coarser while its run goes on; points that were given up meanwhile have an earlier last sample.
    """
    points = f"training_loss_at_step{{{selector}}}"
    seen = f"max_over_time(timestamp({points})[$__range:$__interval])"
    newest = f"max by (run, instance) ({seen})"
    final = f"last_over_time({points}[$__range]) and {seen} == on (run, instance) group_left () {newest}"
    return f"max by (run, step) ({final})"


def nothing(selector: str, why: str) -> str:
    """A run called `why` without a value, where there is no curve."""
    return say(f"absent_over_time(training_loss_at_step{{{selector}}}[$__range]) * NaN", why, step="0")


def curves_by_step() -> str:
    """The runs' curves, the baseline run's under another name, and the last anomaly of the loss in each run."""
    kinds = 'kind=~"loss_spike|loss_divergence"'
    steps = f'count_values by (run, kind) ("step", training_anomaly_last_step{{{ONE_RUN},{kinds}}}) * 0'
    seen = f"max by (run, kind) (training_anomaly_last_value{{{ONE_RUN},{kinds}}})"
    baseline = f'label_replace({last_curve(BASELINE)}, "run", "baseline $1", "run", "(.*)")'
    anomalies = f'label_join({steps} + on (run, kind) group_left () {seen}, "run", " in ", "kind", "run")'
    empty = nothing(ONE_RUN, EMPTY)
    return f"{last_curve(ONE_RUN)} or {baseline} or sum by (run, step) ({anomalies}) or {empty}"
