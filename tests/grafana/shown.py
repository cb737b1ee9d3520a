"""The dashboards as tests see them: their panels, queries and variables, and what Grafana makes of an expression."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import promql_parser

from real import ROOT

Json = dict[str, Any]
FOLDER = ROOT / "grafana/dashboards"
BOARDS: dict[str, Json] = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}

#: A value of a variable: one text, or several that are chosen together.
Value = str | Sequence[str]


@dataclass(frozen=True)
class Query:
    """One expression of a panel, an annotation or a variable."""

    board: str
    where: str  # title of the panel, name of the annotation or variable
    ref: str
    expr: str
    instant: bool = False

    def __str__(self) -> str:
        return f"{self.board} / {self.where} / {self.ref}"


def panels(board: Json) -> Iterator[Json]:
    """Every panel, the rows' as well, without the rows themselves."""
    for panel in board["panels"]:
        yield from ([panel] if panel["type"] != "row" else panel["panels"])


def panel_queries(board: Json, panel: Json) -> list[Query]:
    return [Query(board["uid"], panel["title"], t["refId"], t["expr"], t["instant"]) for t in panel["targets"]]


def annotation_queries(board: Json) -> list[Query]:
    return [Query(board["uid"], a["name"], "annotation", a["expr"]) for a in board["annotations"]["list"]]


def variable_queries(board: Json) -> Iterator[Query]:
    """The expressions inside `label_values(…, label)` and `query_result(…)`."""
    for v in board["templating"]["list"]:
        if v["type"] != "query":
            continue
        text = v["query"]["query"]
        expr = re.fullmatch(r"label_values\((.*), \w+\)|query_result\((.*)\)", text)
        assert expr is not None, text
        yield Query(board["uid"], v["name"], "variable", expr[1] or expr[2], instant=True)


def queries(*, everything: bool = True) -> list[Query]:
    found = [q for board in BOARDS.values() for panel in panels(board) for q in panel_queries(board, panel)]
    if everything:
        found += [q for board in BOARDS.values() for q in (*annotation_queries(board), *variable_queries(board))]
    return found


def interpolated(
    expr: str, values: Mapping[str, Value], *, interval_s: int = 5, range_s: int = 3600, scrape_s: int = 5
) -> str:
    """The expression that Grafana sends: `${name:regex}` as lodash escapes it, everything else as it is."""
    known: dict[str, Value] = {
        "__interval": f"{interval_s}s",
        "__rate_interval": f"{max(interval_s + scrape_s, 4 * scrape_s)}s",
        "__range": f"{range_s}s",
        "smoothing": "5m",
        **values,
    }

    def put(match: re.Match[str]) -> str:
        name, form = match[1] or match[3], match[2]
        value = known[name]
        if form == "regex" and value != ".+":  # the value of `All` is taken as it is
            texts = [value] if isinstance(value, str) else value
            escaped = [re.sub(r"[\\^$.*+?()[\]{}|]", r"\\\g<0>", text) for text in texts]
            return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
        assert isinstance(value, str), f"{match[0]} cannot hold several values"
        return value

    return re.sub(r"\$\{(\w+)(?::(\w+))?\}|\$([a-z_]\w*)", put, expr)


#: Without characters that need an escape: promql-parser takes the one of a raw string for its own.
SAMPLE = {"instance": ".+", "job": ".+", "run": ["a", "b"], "baseline": "none", "datasource": "prometheus"}


def parsed(expr: str) -> promql_parser.Expr:
    return promql_parser.parse(interpolated(expr, SAMPLE))


def selectors(expr: promql_parser.Expr) -> list[promql_parser.VectorSelector]:
    return [node for node in nodes(expr) if isinstance(node, promql_parser.VectorSelector)]


def nodes(expr: Any) -> Iterator[Any]:
    """The expression and everything in it."""
    yield expr
    for name in ("lhs", "rhs", "expr", "vector_selector", "param"):
        inner = getattr(expr, name, None)
        if inner is not None and not isinstance(inner, str):
            yield from nodes(inner)
    for argument in getattr(expr, "args", None) or ():
        yield from nodes(argument)


def grid(
    board: Json, change: Callable[[Json], Json] = lambda panel: panel["gridPos"]
) -> list[tuple[str, set[tuple[int, int]]]]:
    """Title and cells of each panel that is visible at first."""
    shown = []
    for panel in board["panels"]:
        g = change(panel)
        shown.append(
            (panel["title"], {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])})
        )
    return shown
