"""Panels as Grafana's v1 JSON: one function per kind of panel, sizes in grid units (24 wide, 30 px high each)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from boards.style import EMPTY, NOTHING, PLAIN, Json, override, steps

SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def query(expr: str, legend: str = "", *, table: bool = False, instant: bool = False, ref: str = "") -> Json:
    """A Prometheus query. `table`: the present values as rows, one column for each label."""
    at_once = table or instant
    return {
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": expr,
        "format": "table" if table else "time_series",
        "instant": at_once,
        "legendFormat": legend or "__auto",
        "range": not at_once,
        "refId": ref,
    }


def say(absent: str, text: str, **labels: str) -> str:
    """A series whose run is `text`, and with further labels, where `absent` (an expression that is 1 then) holds.

    Grafana has a text for panels without data, but shows none in an XY chart or in a table that several queries fill.
    """
    for label, value in {"run": text, **labels}.items():
        absent = f'label_replace({absent}, "{label}", "{value}", "", "")'
    return absent


def panel(
    kind: str,
    title: str,
    description: str,
    queries: Sequence[Json],
    *,
    w: int,
    h: int,
    unit: str,
    options: Json,
    custom: Json | None = None,
    empty: str = EMPTY,
    overrides: Sequence[Json] = (),
    transformations: Sequence[Json] = (),
    links: Sequence[Json] = (),
    max_points: int | None = None,
    interval: str = "",
    **defaults: Any,
) -> Json:
    """Any panel. `empty` stands where there are no data; `defaults` are further field settings (decimals, min, …)."""
    result: Json = {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "gridPos": {"w": w, "h": h},
        "targets": [{**q, "refId": q["refId"] or chr(ord("A") + i)} for i, q in enumerate(queries)],
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "noValue": empty,
                "color": {"mode": "palette-classic"},
                "thresholds": steps((PLAIN, None)),
                **({"custom": custom} if custom else {}),
                **defaults,
            },
            "overrides": list(overrides),
        },
        "options": options,
    }
    if transformations:
        result["transformations"] = list(transformations)
    if links:
        result["links"] = list(links)
    if max_points:
        result["maxDataPoints"] = max_points
    if interval:
        result["interval"] = interval
    return result


def stat(
    title: str,
    description: str,
    queries: Sequence[Json],
    *,
    unit: str,
    w: int = 4,
    h: int = 3,
    fields: str = "",
    show: str = "value",
    background: bool = False,
    graph: bool = False,
    **more: Any,
) -> Json:
    """One big number, or a few with their names (`show="value_and_name"`); thresholds colour it."""
    options = {
        "colorMode": "background" if background else "value",
        "graphMode": "area" if graph else "none",
        "justifyMode": "center",
        "orientation": "vertical" if len(queries) > 1 else "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": fields, "values": False},
        "showPercentChange": False,
        "textMode": show,
        "wideLayout": True,
    }
    if background:
        more.setdefault("thresholds", steps((NOTHING, None)))
    more.setdefault("color", {"mode": "thresholds"})
    return panel("stat", title, description, queries, unit=unit, w=w, h=h, options=options, **more)


def bar(title: str, description: str, queries: Sequence[Json], *, unit: str, w: int, h: int, **more: Any) -> Json:
    """Horizontal bars."""
    options = {
        "displayMode": "basic",
        "minVizHeight": 14,
        "minVizWidth": 0,
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showUnfilled": True,
        "text": {"titleSize": 12, "valueSize": 16},
        "valueMode": "text",
    }
    return panel("bargauge", title, description, queries, unit=unit, w=w, h=h, options=options, **more)


def lines(
    title: str,
    description: str,
    queries: Sequence[Json],
    *,
    unit: str,
    w: int = 12,
    h: int = 9,
    axis: str = "",
    stacked: bool = False,
    bars: bool = False,
    **more: Any,
) -> Json:
    """Values over time, with the legend below and all values of a moment in the tooltip."""
    custom = {
        "axisLabel": axis,
        "axisPlacement": "auto",
        "drawStyle": "bars" if bars else "line",
        "fillOpacity": 60 if bars else 0,
        "gradientMode": "none",
        "lineInterpolation": "linear",
        "lineWidth": 1 if bars else 2,
        "pointSize": 4,
        "scaleDistribution": {"type": "linear"},
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
        "thresholdsStyle": {"mode": more.pop("threshold_style", "off")},
    }
    options = {
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel("timeseries", title, description, queries, unit=unit, w=w, h=h, options=options, custom=custom, **more)


def table(
    title: str,
    description: str,
    queries: Sequence[Json],
    *,
    w: int = 24,
    h: int = 7,
    unit: str = "short",
    columns: Sequence[str] = (),
    hidden: Sequence[str] = ("Time",),
    sort: Sequence[tuple[str, bool]] = (),
    first: Sequence[Json] = (),
    last: Sequence[Json] = (),
    nothing: str = "",
    **more: Any,
) -> Json:
    """Rows of the present values, joined on the labels that all queries have.

    `columns`: order by field name; `sort`: shown names, each with whether the highest stands first; `first` and `last`:
    transformations before and after the join; `nothing`: a row for the case that there is none (see `say`).
    """
    if nothing:
        queries, hidden = [*queries, query(nothing, table=True, ref="none")], (*hidden, "Value #none")
    organize = {
        "id": "organize",
        "options": {
            "excludeByName": dict.fromkeys(hidden, True),
            "indexByName": {name: i for i, name in enumerate(columns)},
            "renameByName": {},
        },
    }
    options = {
        "cellHeight": "sm",
        "footer": {"show": False, "reducer": ["sum"], "countRows": False},
        "frameIndex": 0,
        "showHeader": True,
        "sortBy": [{"displayName": name, "desc": desc} for name, desc in sort],
    }
    custom = {
        "align": "auto",
        "cellOptions": {"type": "auto"},
        "filterable": False,
        "inspect": False,
        "minWidth": 60,
    }
    no_cell = override(".*", regex=True, noValue="–")  # the panel's own text is for an empty table
    join = [{"id": "merge", "options": {}}] if len(queries) > 1 else []
    more.setdefault("color", {"mode": "thresholds"})
    more["overrides"] = [no_cell, *more.get("overrides", ())]
    return panel(
        "table",
        title,
        description,
        queries,
        unit=unit,
        w=w,
        h=h,
        options=options,
        custom=custom,
        transformations=[*first, *join, organize, *last],
        **more,
    )
