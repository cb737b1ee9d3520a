"""Every panel against a real Prometheus that scrapes real exporters reading real logs, one world after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from grafana.shown import BOARDS, Query, annotation_queries, interpolated, panel_queries, panels, variable_queries
from grafana.worlds import HOSTILE, WORLDS, Prometheus, World, start

pytestmark = pytest.mark.servers
OF = {world.name: world for world in WORLDS}

NO_GRAD_NORM = {"Gradient norm": "nanochat logs none"}
NO_ERROR = {"Error lines in the log": "there is none"}
NO_CHOICE = {
    "At the same step, against the baseline run chosen above": "none is chosen",
    "Loss over the chosen baseline's, against step": "none is chosen",
}
NO_BASELINE = {"At the same step, against the baseline of exporter.yml": "none is configured", **NO_CHOICE}
NO_COST = {"Cost": "no price is set", "Cost of all runs": "no price is set"}
CLEAN = {"Lines that could not be used": "every line could be used while Prometheus looked"}
PLAIN = NO_GRAD_NORM | NO_ERROR | NO_BASELINE | CLEAN

#: World → panels without data, each with its reason. Every other panel must have data.
EMPTY: dict[str, dict[str, str]] = {
    "healthy": PLAIN,
    "anomalies": PLAIN,
    "baseline": NO_GRAD_NORM | NO_ERROR | CLEAN,
    "no-mfu": PLAIN
    | NO_COST
    | {
        "MFU": "neither logged nor computable",
        "MFU over time": "neither logged nor computable",
        "MFU of the 12 latest runs, of their usual": "neither logged nor computable",
    },
    "trainers": NO_BASELINE
    | CLEAN
    | NO_COST
    | {
        "Final loss": "the logs are a few lines long",
        "MFU of the 12 latest runs, of their usual": "the logs are a few lines long",
    },
    "hostile": NO_GRAD_NORM
    | NO_ERROR
    | CLEAN
    | {
        "At the same step, against the baseline of exporter.yml": "none is configured",
        "Final loss": "the loss is NaN",
    },
    "restarted": PLAIN,
    "many": PLAIN,
}
#: Panels that may be empty or not.
EITHER = {
    "Firing alerts": "what raises an alert is for the tests of detectors and rules to say",
    "Anomalies by kind": "likewise",
    "New anomalies": "likewise",
    "Goodput": "a log without times that is read at once tells little about wall time",
    "Time that did not train": "likewise",
}
#: Panels that have data although there is no run at all.
WITHOUT_RUNS = {
    "training-overview": {"Runs", "Trouble"},
    "training-run": {
        "GPU utilisation", "Tensor cores", "GPU memory used", "GPU power", "GPU temperature", "XID errors",
    },
    "training-exporter": {
        "Exporters up", "Caught up", "Watched", "Failed saves, 1 h", "Configuration", "Time of a scrape", "Memory",
        "Processor", "State saves", "Open files", "Exporters",
    },
}  # fmt: skip


#: Texts that stand where there is nothing.
SAID = {p["fieldConfig"]["defaults"]["noValue"] for board in BOARDS.values() for p in panels(board)} - {"0", "none"}


@dataclass(frozen=True)
class Look:
    """Asks as Grafana does, at one moment for everything."""

    prometheus: Prometheus
    now: float

    def ask(self, query: Query, world: World, **values: str) -> list[dict[str, object]]:
        known = {"instance": world.name, "job": ".+", "run": world.runs or "", "baseline": world.baseline, **values}
        expr = interpolated(query.expr, known, interval_s=1, range_s=120, scrape_s=1)
        if query.instant:
            return self.prometheus.instant(expr, self.now)
        return self.prometheus.over(expr, self.now - 12, self.now, 1)

    def at(self, queries: Sequence[Query], world: World) -> list[dict[str, object]]:
        """What all queries of a panel give: an invalid one fails even where another has data.

        Without the series that only say that there is nothing.
        """
        found = [series for query in queries for series in self.ask(query, world)]
        return [series for series in found if SAID.isdisjoint(series["metric"].values())]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def look(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Look]:
    with ExitStack() as stack:
        prometheus = start(stack, tmp_path_factory.mktemp("worlds"))
        yield Look(prometheus, time.time())


@pytest.mark.parametrize("world", [w for w in WORLDS if w.runs], ids=lambda w: w.name)
def test_every_panel_has_data_but_those_that_cannot(look: Look, world: World) -> None:
    empty = {
        panel["title"]
        for board in BOARDS.values()
        for panel in panels(board)
        if not look.at(panel_queries(board, panel), world)
    }
    assert empty - EITHER.keys() == EMPTY[world.name].keys()


@pytest.mark.parametrize("uid", BOARDS)
def test_without_a_run_every_query_is_valid_and_only_counts_have_data(look: Look, uid: str) -> None:
    board = BOARDS[uid]
    full = {panel["title"] for panel in panels(board) if look.at(panel_queries(board, panel), OF["none"])}
    assert full == WITHOUT_RUNS[uid]


@pytest.mark.parametrize("world", WORLDS, ids=lambda w: w.name)
def test_annotations_and_variables_are_valid_everywhere(look: Look, world: World) -> None:
    for board in BOARDS.values():
        for query in (*annotation_queries(board), *variable_queries(board)):
            look.ask(query, world)


def happened(look: Look, name: str, world: str) -> set[str]:
    """What an annotation marks, by kind or run."""
    (query,) = (q for q in annotation_queries(BOARDS["training-run"]) if q.where == name)
    found = look.ask(query, OF[world])
    return {str(r["metric"].get("kind", r["metric"]["run"])) for r in found}  # type: ignore[attr-defined]


def test_an_anomaly_that_happens_is_marked_once(look: Look) -> None:
    assert "loss_spike" in happened(look, "Critical", "anomalies") | happened(look, "Warnings", "anomalies")
    (query,) = (q for q in annotation_queries(BOARDS["training-run"]) if q.where == "Warnings")
    total = f'sum(training_anomalies_total{{instance="anomalies",severity="warning"}})'  # noqa: F541
    before, *_, after = [float(v) for _, v in look.prometheus.over(total, look.now - 12, look.now, 1)[0]["values"]]
    marks = [float(v) for series in look.ask(query, OF["anomalies"]) for _, v in series["values"]]  # type: ignore[attr-defined]
    assert sum(marks) == after - before > 0


def test_an_anomaly_raises_an_alert_that_the_run_and_the_overview_show(look: Look) -> None:
    for uid, title, ref in (("training-run", "Firing alerts", "firing"), ("training-overview", "All runs", "alerts")):
        (panel,) = (p for p in panels(BOARDS[uid]) if p["title"] == title)
        (query,) = (q for q in panel_queries(BOARDS[uid], panel) if q.ref == ref)
        found = [r for r in look.ask(query, OF["anomalies"]) if float(r["value"][1]) > 0]  # type: ignore[index]
        assert "spikes" in {r["metric"]["run"] for r in found}  # type: ignore[index]


def test_a_healthy_run_is_not_marked(look: Look) -> None:
    assert not happened(look, "Critical", "no-mfu") | happened(look, "Warnings", "no-mfu")
    assert not happened(look, "Restarts", "no-mfu")


def test_a_restart_is_marked(look: Look) -> None:
    assert happened(look, "Restarts", "restarted") == {"again"}


@pytest.mark.parametrize("run", HOSTILE)
def test_a_run_of_any_name_is_found_alone(look: Look, run: str) -> None:
    titles = {"State", "Loss against step", "Loss over time", "Anomalies by kind"}
    board = BOARDS["training-run"]
    for panel in panels(board):
        if panel["title"] in titles:
            found = [r for query in panel_queries(board, panel) for r in look.ask(query, OF["hostile"], run=run)]
            assert found, panel["title"]
            names = {str(r["metric"].get("run", run)) for r in found}  # type: ignore[attr-defined]
            assert all(run in name or HOSTILE[0] in name for name in names)


def test_the_overview_shows_two_hundred_runs_in_one_row_each(look: Look) -> None:
    board = BOARDS["training-overview"]
    (table,) = (p for p in panels(board) if p["type"] == "table")
    for query in panel_queries(board, table):
        rows = [r["metric"]["run"] for r in look.ask(query, OF["many"])]  # type: ignore[index]
        assert len(rows) == len(set(rows)) <= 200
        if query.ref in ("state", "loss", "progress", "alerts"):
            assert len(rows) == 200, query.ref


def test_curves_of_the_overview_are_the_latest_runs_only(look: Look) -> None:
    board = BOARDS["training-overview"]
    (panel,) = (p for p in panels(board) if p["title"] == "Loss of the 12 latest runs")
    (query,) = panel_queries(board, panel)
    assert len(look.ask(query, OF["many"])) == 12


def test_bands_are_drawn_for_a_single_run_only(look: Look) -> None:
    board = BOARDS["training-run"]
    (panel,) = (p for p in panels(board) if p["title"] == "MFU over time")
    (band,) = (q for q in panel_queries(board, panel) if q.ref == "warning")
    assert look.ask(band, OF["healthy"])
    assert not look.ask(band, OF["many"])


def test_the_curve_of_a_run_is_the_last_one_and_steps_occur_once(look: Look) -> None:
    board = BOARDS["training-run"]
    (panel,) = (p for p in panels(board) if p["title"] == "Loss against step")
    (query,) = panel_queries(board, panel)
    rows = [(r["metric"]["run"], int(r["metric"]["step"])) for r in look.ask(query, OF["baseline"])]  # type: ignore[index]
    assert len(rows) == len(set(rows))
    mine = sorted(step for run, step in rows if run == "now")
    its = sorted(step for run, step in rows if run == "baseline before")
    assert 50 <= len(mine) <= 201
    assert 50 <= len(its) <= 201
    assert max(its) > max(mine)
    assert len(set(mine) & set(its)) > 0.9 * len(mine), "both have their points at the same steps"
