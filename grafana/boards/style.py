"""Colours, thresholds and links that all dashboards share.

Colours are the palette of Okabe and Ito (2008), which people with any common colour blindness can tell apart. Numbers
come from the one threshold table (`training_monitor.detect.thresholds`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from training_monitor.detect.thresholds import Thresholds

Json: TypeAlias = dict[str, Any]

BLUE = "#56B4E9"
DEEP_BLUE = "#0072B2"
GREEN = "#009E73"
ORANGE = "#E69F00"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
YELLOW = "#F0E442"
GREY = "#9A9A9A"
PLAIN = "text"  # the theme's own colour of text
NOTHING = "transparent"

OK, WARNING, CRITICAL = BLUE, ORANGE, VERMILION
STATES = {"waiting": GREY, "running": BLUE, "finished": GREEN, "stalled": ORANGE, "crashed": VERMILION}
SEVERITIES = {1: ("notice", GREY), 2: ("warning", WARNING), 3: ("critical", CRITICAL)}

TABLE = Thresholds().table()
RUNBOOKS = "https://github.com/training-monitor/training-monitor/blob/main/docs/runbooks.md"
OVERVIEW, RUN, EXPORTER = "training-overview", "training-run", "training-exporter"  # uids: the alerts link to them
TAG = "training-monitor"

EMPTY = "No run yet: point TRAINING_LOGS at your logs"
UNKNOWN = "the log does not say"


def limits(kind: str) -> tuple[float, float]:
    """The warning and the critical threshold of a kind of anomaly, as in the table."""
    return TABLE[kind, "warning"], TABLE[kind, "critical"]


def above(warning: float, critical: float, base: str = PLAIN) -> Json:
    """Thresholds of a value that must stay low."""
    return steps((base, None), (WARNING, warning), (CRITICAL, critical))


def below(warning: float, critical: float, base: str = PLAIN) -> Json:
    """Thresholds of a value that must stay high."""
    return steps((CRITICAL, None), (WARNING, critical), (base, warning))


def steps(*pairs: tuple[str, float | None]) -> Json:
    """Grafana's form: each colour from its value upwards, the first one from below."""
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for color, value in pairs]}


#: A value that is not there has no colour.
ABSENT = {"type": "special", "options": {"match": "null+nan", "result": {"color": NOTHING, "index": 0, "text": "–"}}}


def words(colors: Mapping[str, str]) -> list[Json]:
    """A value mapping that gives each word its colour."""
    options = {w: {"color": color, "index": i, "text": w} for i, (w, color) in enumerate(colors.items())}
    return [{"type": "value", "options": options}]


def numbers(names: Mapping[int, tuple[str, str]]) -> list[Json]:
    """A value mapping that gives each number its word and colour."""
    options = {str(n): {"color": color, "index": i, "text": w} for i, (n, (w, color)) in enumerate(names.items())}
    return [{"type": "value", "options": options}]


def override(name: str, *, regex: bool = False, query: bool = False, **properties: Any) -> Json:
    """Changes fields by name, by a regular expression over the names, or by the query (`refId`) they come from.

    Keywords are properties of the field; `custom_` stands for `custom.`: `custom_lineWidth=2`.
    """
    matcher = "byFrameRefID" if query else "byRegexp" if regex else "byName"
    return {
        "matcher": {"id": matcher, "options": f"/{name}/" if regex else name},
        "properties": [{"id": _property(key), "value": value} for key, value in properties.items()],
    }


def _property(key: str) -> str:
    return "custom." + key.removeprefix("custom_") if key.startswith("custom_") else key


def fixed(color: str) -> Json:
    return {"mode": "fixed", "fixedColor": color}


def dashed(color: str, *, pattern: Sequence[int] = (8, 6), **more: Any) -> Json:
    """Properties of a thin dashed line."""
    style = {"fill": "dash", "dash": list(pattern)}
    return {"color": fixed(color), "custom_lineStyle": style, "custom_lineWidth": 1, "custom_fillOpacity": 0, **more}


#: A cell of a table that is filled with the colour of its value.
FILLED = {"type": "color-background", "mode": "basic"}


def rises_above(limit: float) -> Json:
    """Properties of a cell that is marked from `limit` upwards."""
    return _marked(steps((NOTHING, None), (ORANGE, limit)))


def falls_below(limit: float) -> Json:
    """Properties of a cell that is marked below `limit`."""
    return _marked(steps((ORANGE, None), (NOTHING, limit)))


def _marked(thresholds: Json) -> Json:
    return {"custom_cellOptions": FILLED, "thresholds": thresholds, "mappings": [ABSENT]}


#: Properties of values as logged, behind their smoothed curve.
ROUGH: Json = {"color": fixed(GREY), "custom_lineWidth": 1, "custom_showPoints": "never", "custom_fillOpacity": 0}
