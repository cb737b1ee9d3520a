"""A whole dashboard: layout, variables, annotations and links around its panels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from boards.panels import SOURCE
from boards.style import CRITICAL, PURPLE, RUNBOOKS, TAG, WARNING, Json

WIDTH = 24
#: Selectors. Raw strings with `:regex`, because Grafana's own escaping leaves a double quote in a run's name as it is.
INSTANCE = "instance=~`${instance:regex}`"
ONE_RUN = f"{INSTANCE},run=~`${{run:regex}}`"
JOB = f"job=~`${{job:regex}}`,{INSTANCE}"
#: In table queries: what tells runs apart. Two exporters may both have a run `train`.
BY = "by (run, instance)"


class Row:
    """A heading and the panels under it, left to right and wrapped."""

    def __init__(self, title: str, *panels: Json, repeat: str = "", collapsed: bool = False) -> None:
        self.title, self.panels, self.repeat, self.collapsed = title, panels, repeat, collapsed


def layout(rows: Sequence[Row]) -> list[Json]:
    """All panels with their ids and places. A row without a title has no heading."""
    placed: list[Json] = []
    y = number = 0
    for row in rows:
        heading: Json = {}
        if row.title:
            number += 1
            heading = {
                "type": "row",
                "id": number,
                "title": row.title,
                "collapsed": row.collapsed,
                "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
                "panels": [],
                **({"repeat": row.repeat} if row.repeat else {}),
            }
            placed.append(heading)
            y += 1
        x = height = 0
        for panel in row.panels:
            number += 1
            w, h = panel["gridPos"]["w"], panel["gridPos"]["h"]
            if x + w > WIDTH:
                x, y, height = 0, y + height, 0
            (heading["panels"] if row.collapsed else placed).append(
                {"id": number, **panel, "gridPos": {"x": x, "y": y, "w": w, "h": h}}
            )
            x, height = x + w, max(height, h)
        y += 0 if row.collapsed else height
    return placed


def variable(name: str, label: str, expr: str, description: str, **more: Any) -> Json:
    """A variable with values from Prometheus, read again when the time range changes."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "description": description,
        "datasource": SOURCE,
        "definition": expr,
        "query": {"query": expr, "refId": "StandardVariableQuery"},
        "refresh": 2,
        "regex": "",
        "sort": 1,
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "options": [],
        **more,
    }


DATASOURCE: Json = {
    "type": "datasource",
    "name": "datasource",
    "label": "Data source",
    "description": "The Prometheus that scrapes the exporter.",
    "query": "prometheus",
    "refresh": 1,
    "regex": "",
    "hide": 0,
    "multi": False,
    "includeAll": False,
    "options": [],
}
INSTANCES = variable(
    "instance",
    "Exporter",
    "label_values(training_monitor_build_info, instance)",
    "The exporters whose runs are shown: one for each machine with logs.",
    multi=True,
    includeAll=True,
    allValue=".+",
    current={"selected": True, "text": ["All"], "value": ["$__all"]},
)


def annotation(name: str, counter: str, *, by: str, step: str, color: str, title: str, text: str) -> Json:
    """Marks the moments at which a counter rose. Its switch stands at the top of the dashboard."""
    return {
        "name": name,
        "datasource": SOURCE,
        "enable": True,
        "hide": False,
        "expr": f"sum by ({by}) ({risen(counter)}) > 0",
        "iconColor": color,
        "step": step,
        "tagKeys": by.replace(" ", ""),
        "titleFormat": title,
        "textFormat": text,
        "useValueForTime": False,
    }


def risen(counter: str) -> str:
    """By how much a counter rose since the point before: each event in exactly one point, unlike `increase`."""
    return f"clamp_min({counter} - {counter} offset $__interval, 0)"


def marks(selector: str, step: str) -> list[Json]:
    """Anomalies and restarts of the selected runs, drawn on every panel over time; `step`: how exactly."""
    anomalies = f"training_anomalies_total{{{selector},severity="

    def began(name: str, severity: str, color: str) -> Json:
        counter = f'{anomalies}"{severity}"}}'
        title = f"{{{{kind}}}} ({severity})"
        return annotation(name, counter, by="run, kind", step=step, color=color, title=title, text="{{run}}")

    return [
        began("Critical", "critical", CRITICAL),
        began("Warnings", "warning", WARNING),
        annotation(
            "Restarts",
            f"training_restarts_total{{{selector}}}",
            by="run",
            step=step,
            color=PURPLE,
            title="Restart",
            text="{{run}} went on from an earlier step or in a new process",
        ),
    ]


def dashboard(
    uid: str,
    title: str,
    description: str,
    rows: Sequence[Row],
    variables: Sequence[Json],
    *,
    span: str = "12h",
    annotations: Sequence[Json] = (),
) -> Json:
    """The file that Grafana provisions."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": [TAG],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": f"now-{span}", "to": "now"},
        "timezone": "browser",
        "timepicker": {},
        "fiscalYearStartMonth": 0,
        "links": [
            {
                "type": "dashboards",
                "title": "Dashboards",
                "tags": [TAG],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "icon": "dashboard",
                "tooltip": "",
                "url": "",
            },
            {
                "type": "link",
                "title": "Runbooks",
                "url": RUNBOOKS,
                "tags": [],
                "asDropdown": False,
                "includeVars": False,
                "keepTime": False,
                "targetBlank": True,
                "icon": "doc",
                "tooltip": "What each alert means and what to do",
            },
        ],
        "templating": {"list": [DATASOURCE, *variables]},
        "annotations": {"list": list(annotations)},
        "panels": layout(rows),
    }
