"""The files in grafana/dashboards: current, valid, complete and readable."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from grafana.shown import BOARDS, FOLDER, Json, grid, panels
from real import ROOT, load, succeeds

SCHEMA: Json = json.loads((Path(__file__).parent / "dashboard-v1.schema.json").read_text("utf-8"))
UIDS = {"training-overview", "training-run", "training-exporter"}
EVERY_BOARD = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


def test_the_files_are_what_the_code_makes() -> None:
    succeeds(sys.executable, ROOT / "grafana/generate.py", "--check")


def test_a_file_that_was_edited_by_hand_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "grafana"))
    generate = load("grafana/generate.py")
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    (tmp_path / "training-run.json").write_text("{}")
    assert generate.main(["--check"]) == 1


def test_the_three_dashboards_keep_their_addresses() -> None:
    assert {board["uid"] for board in BOARDS.values()} == UIDS
    assert set(BOARDS) == UIDS
    linked = set(re.findall(r"/d/([\w-]+)", (ROOT / "prometheus/rules/alerts.yml").read_text()))
    assert linked <= UIDS, "an alert links to a dashboard that is not here"


@EVERY_BOARD
def test_it_fits_the_schema(board: Json) -> None:
    problems = [f"{list(e.absolute_path)}: {e.message}" for e in jsonschema.Draft7Validator(SCHEMA).iter_errors(board)]
    assert not problems


def test_the_schema_refuses_what_grafana_would_not_know() -> None:
    board = json.loads(json.dumps(BOARDS["training-run"]))
    panel = next(p for p in board["panels"] if p["type"] == "timeseries")
    for change in ({"legnd": 1}, {"type": "graph"}, {"gridPos": {"x": 20, "y": 0, "w": 5, "h": 30.5}}, {"targets": []}):
        broken = {**board, "panels": [{**panel, **change}]}
        assert list(jsonschema.Draft7Validator(SCHEMA).iter_errors(broken)), change


@EVERY_BOARD
def test_ids_and_names_occur_once(board: Json) -> None:
    ids = [p["id"] for p in board["panels"]] + [p["id"] for row in board["panels"] for p in row.get("panels", ())]
    titles = [p["title"] for p in panels(board)]
    variables = [v["name"] for v in board["templating"]["list"]]
    for names in (ids, titles, variables):
        assert len(names) == len(set(names))
    for panel in panels(board):
        refs = [t["refId"] for t in panel["targets"]]
        assert len(refs) == len(set(refs)), panel["title"]


@EVERY_BOARD
def test_panels_neither_overlap_nor_leave_the_grid(board: Json) -> None:
    taken: dict[tuple[int, int], str] = {}
    for title, cells in grid(board):
        assert all(0 <= x < 24 for x, _ in cells), f"{title} leaves the grid"
        for cell in cells:
            assert cell not in taken, f"{title} overlaps {taken.get(cell)}"
            taken[cell] = title


@EVERY_BOARD
def test_the_first_panels_fit_a_laptop_and_no_row_of_the_grid_is_empty(board: Json) -> None:
    used = {y for _, cells in grid(board) for _, y in cells}
    assert used == set(range(max(used) + 1))
    curves = [p["gridPos"] for p in panels(board) if p["type"] in ("timeseries", "xychart", "table")]
    assert min(g["y"] for g in curves) <= 9, "the first curve or table begins below the fold at 1280 x 800"


@EVERY_BOARD
def test_descriptions_say_what_healthy_looks_like(board: Json) -> None:
    facts = {"Progress", "Step", "Cost", "Cost of all runs", "Final loss", "Tokens", "The run", "Watched", "Exporters"}
    for panel in panels(board):
        assert len(panel["description"]) >= 40, panel["title"]
        assert "ealthy" in panel["description"] or panel["title"] in facts, panel["title"]


@EVERY_BOARD
def test_every_panel_says_something_where_it_has_no_data(board: Json) -> None:
    for panel in panels(board):
        assert panel["fieldConfig"]["defaults"]["noValue"], panel["title"]
    if board["uid"] == "training-overview":
        assert any("point TRAINING_LOGS at your logs" in p["fieldConfig"]["defaults"]["noValue"] for p in panels(board))


def colors(thing: Any) -> set[str]:
    if isinstance(thing, dict):
        own = {v for k, v in thing.items() if k in ("color", "fixedColor", "iconColor") and isinstance(v, str)}
        return own.union(*map(colors, thing.values()))
    return set().union(*map(colors, thing)) if isinstance(thing, list) else set()


@EVERY_BOARD
def test_colours_are_those_that_colour_blind_people_can_tell_apart(board: Json) -> None:
    okabe_ito = {"#56B4E9", "#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#F0E442"}
    neutral = {"text", "transparent", "#9A9A9A"}
    assert colors(board) <= okabe_ito | neutral


@EVERY_BOARD
def test_the_dashboards_lead_to_each_other_and_to_the_runbooks(board: Json) -> None:
    by_tag, runbooks = board["links"]
    assert by_tag["tags"] == board["tags"]
    assert by_tag["includeVars"]
    assert by_tag["keepTime"]
    assert runbooks["url"].endswith("docs/runbooks.md")
    assert f"runbook_url: {runbooks['url']}#" in (ROOT / "prometheus/rules/alerts.yml").read_text()


def test_a_row_of_the_overview_opens_its_run() -> None:
    table = next(p for p in panels(BOARDS["training-overview"]) if p["type"] == "table")
    links = [v for o in table["fieldConfig"]["overrides"] for v in o["properties"] if v["id"] == "links"]
    url = links[0]["value"][0]["url"]
    assert url.startswith("/d/training-run/")
    assert "var-run=${__data.fields.run:percentencode}" in url
    assert "var-instance=${__data.fields.instance:percentencode}" in url


@EVERY_BOARD
def test_every_variable_that_is_used_exists_and_every_one_that_exists_is_used(board: Json) -> None:
    text = json.dumps({k: v for k, v in board.items() if k != "templating"})
    within = json.dumps([{k: v for k, v in one.items() if k != "name"} for one in board["templating"]["list"]])
    used = {a or b for a, b in re.findall(r"\$\{(\w+)(?::\w+)?\}|\$([a-z]\w*)", text + within)}
    known = {v["name"] for v in board["templating"]["list"]}
    assert {name for name in used if not name.startswith("__")} == known


def test_every_file_is_provisioned_read_only_into_one_folder() -> None:
    provider = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/training.yml").read_text())["providers"][0]
    assert provider["allowUiUpdates"] is False
    assert provider["disableDeletion"] is True
    assert provider["options"]["path"] in (ROOT / "docker-compose.yml").read_text()
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(f"{uid}.json" for uid in UIDS)


def test_the_data_source_knows_the_scrape_interval() -> None:
    source = yaml.safe_load((ROOT / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    prometheus = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
    assert source["uid"] == "prometheus"
    assert source["editable"] is False


def test_thresholds_on_the_dashboards_are_those_of_the_table() -> None:
    from training_monitor.detect.thresholds import Thresholds

    board = BOARDS["training-run"]
    table = Thresholds().table()
    shown: dict[str, list[float]] = {}
    for panel in panels(board):
        for o in panel["fieldConfig"]["overrides"]:
            for p in o["properties"]:
                if p["id"] == "thresholds":
                    shown[f"{panel['title']}: {o['matcher']['options']}"] = [
                        s["value"] for s in p["value"]["steps"][1:]
                    ]
    pair = {kind: [table[kind, "warning"], table[kind, "critical"]] for kind, _ in table}
    assert shown["Loss: × recent level"] == pair["loss_spike"]
    assert shown["Loss: steps flat"] == pair["plateau"]
    assert shown["Step time: × usual"] == pair["slowdown"]
    assert shown["MFU: of usual"] == [1 - pair["mfu_drop"][1], 1 - pair["mfu_drop"][0]]
