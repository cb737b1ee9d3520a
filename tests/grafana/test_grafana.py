"""The dashboards in a real Grafana, seen through a real browser, on the recorded past of real logs.

Runs where a Grafana can be had: `grafana-server` or `grafana` on PATH (9.5 or later), or GRAFANA_URL, with user and
password in it if need be, of one that has these dashboards provisioned and runs in its Prometheus. Needs selenium and
chromedriver as well. With SCREENSHOTS=DIR it leaves there what it saw.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from grafana.pages import Browser, Grafana, browser, launched, program
from grafana.recorded import TimedLog, blocks, record
from grafana.shown import BOARDS, FOLDER, Json, interpolated, panels
from grafana.worlds import DATA, HOSTILE, KNOWN, TRAINERS, WORLDS, Prometheus, prometheus, start
from real import load
from servers import server
from training_monitor.config import parse

pytestmark = pytest.mark.servers

#: Name of the run → its log, and how much of it is there at the end.
RUNS = {
    "d4-baseline": ("ok", 1.0),
    "d4-lr-too-high": ("spike", 0.62),
    "d4-slow-disk": ("slow", 0.7),
    "d4-nan": ("nan", 1.0),
}
CHOSEN = {"run": ["d4-lr-too-high"], "baseline": "d4-baseline", "smoothing": "1m"}
#: The pictures of the README: their names and how much of the page they show.
PICTURES = {
    "training-overview": ("overview", 1010),
    "training-run": ("run", 1560),
    "training-exporter": ("exporter", 1010),
}
LAPTOP, PHONE = (1280, 800), (390, 844)
#: Texts that say "nothing here", which no panel with data may show; "0" and the like are values as well.
NOTHING = {p["fieldConfig"]["defaults"]["noValue"] for board in BOARDS.values() for p in panels(board)} | {"No data"}
NOTHING = {text for text in NOTHING if len(text) > 4}
BROKEN = "broken-on-purpose"
#: Worlds that are looked at as well, with the runs that are chosen there.
LIVE: dict[str, tuple[str, ...]] = {
    "hostile": HOSTILE,
    "many": ("run-000", "run-100", "run-199"),
    "none": (),
    "restarted": ("again",),
    "trainers": tuple(name.removesuffix(".log") for name in TRAINERS[:6]),
}


@dataclass(frozen=True)
class Scene:
    """A Grafana, a data source and a time range, and the values of the variables."""

    grafana: Grafana
    start_ms: int
    end_ms: int
    values: dict[str, Any]
    source: str = "prometheus"

    def url(self, uid: str, **values: Any) -> str:
        known = {**self.values, "datasource": self.source, **values}
        return self.grafana.page(uid, self.start_ms, self.end_ms, known)

    def has_data(self, panel: Json) -> bool:
        """Whether Grafana's own API gives a panel data; fails where it refuses a query."""
        answers = self.grafana.query([self._query(t) for t in panel["targets"]], self.start_ms, self.end_ms)
        frames = [frame for answer in answers.values() for frame in answer["frames"]]
        return any(values(frame) and NOTHING.isdisjoint(labels(frame)) for frame in frames)

    def _query(self, target: Json) -> Json:
        values = {"instance": ".+", "job": ".+", **self.values}
        expr = interpolated(target["expr"], values, range_s=(self.end_ms - self.start_ms) // 1000)
        source = {"type": "prometheus", "uid": self.source}
        return {**target, "datasource": source, "expr": expr, "intervalMs": 5000, "maxDataPoints": 1000}


def values(frame: Json) -> list[Any]:
    columns = frame["data"]["values"]
    return list(columns[0]) if columns else []


def labels(frame: Json) -> set[str]:
    return {value for field in frame["schema"]["fields"] for value in field.get("labels", {}).values()}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A recorded past that ends now, with the alerts that it raises; or what GRAFANA_URL has."""
    folder, now = tmp_path_factory.mktemp("grafana"), time.time()
    with ExitStack() as stack:
        if given := os.environ.get("GRAFANA_URL"):
            grafana = Grafana(given)
            runs = grafana.get("/api/datasources/uid/prometheus/resources/api/v1/label/run/values")["data"]
            yield Scene(grafana, int(now - 43200) * 1000, int(now) * 1000, {"run": runs[:1], "baseline": "none"})
            return
        program()
        begin, past = recorded(stack, folder, now)
        others = start(stack, folder / "worlds", [w for w in WORLDS if w.name in LIVE])
        (folder / "broken").mkdir()
        (folder / "broken/broken.json").write_text(json.dumps(broken()))
        sources = {"prometheus": past.url, "worlds": others.url}
        grafana = launched(stack, folder / "home", sources, [FOLDER, folder / "broken"])
        yield Scene(grafana, int(begin) * 1000, int(now + 15) * 1000, dict(CHOSEN))


def recorded(stack: ExitStack, folder: Path, end: float) -> tuple[float, Prometheus]:
    """Plays the logs so that they end at `end`; gives the beginning, and a Prometheus under which alerts fire."""
    (folder / "logs").mkdir()
    (folder / "prometheus").mkdir()
    config = parse(json.dumps({**KNOWN, "baseline": {"log": str(DATA / "nanochat/base_train_ok.log")}}))
    played = [
        TimedLog(folder / f"logs/{run}.log", DATA / f"nanochat/base_train_{log}.log", end=end, upto=upto)
        for run, (log, upto) in RUNS.items()
    ]
    begin = min(log.start for log in played) - 5
    text = record(played, config, start=begin, end=end, every=5, instance="gpu-node-1:10042")
    text = text.replace(f"{folder}/logs/", "/logs/")
    blocks(str(server("promtool")), text, folder / "prometheus")
    found = prometheus(stack, load("stack/native.py"), folder / "prometheus", [])
    found.wait_for('ALERTS{alertstate="firing",run!=""}')
    return begin, found


def broken() -> Json:
    """A dashboard in which everything is wrong that the tests below look for."""
    board = json.loads(json.dumps(BOARDS["training-run"]))
    panel = next(p for p in panels(board) if p["type"] == "timeseries")
    refused = {**panel, "title": "Refused", "targets": [{**panel["targets"][0], "expr": "sum by ("}]}
    unknown = {
        **panel,
        "id": 2,
        "title": "Unknown",
        "type": "no-such-panel",
        "gridPos": {"x": 12, "y": 0, "w": 12, "h": 9},
    }
    return {**board, "uid": BROKEN, "title": "Broken on purpose", "tags": [], "panels": [refused, unknown]}


@pytest.fixture(scope="module")
def chromium(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.mark.parametrize("uid", BOARDS)
def test_grafana_has_the_dashboard_as_it_is_in_the_file_and_read_only(scene: Scene, uid: str) -> None:
    found = scene.grafana.get(f"/api/dashboards/uid/{uid}")
    assert found["meta"]["provisioned"]
    assert not found["dashboard"]["editable"]
    assert [p["title"] for p in panels(found["dashboard"])] == [p["title"] for p in panels(BOARDS[uid])]


@pytest.mark.parametrize("uid", BOARDS)
def test_grafana_answers_every_query(scene: Scene, uid: str) -> None:
    full = [panel["title"] for panel in panels(BOARDS[uid]) if scene.has_data(panel)]
    assert len(full) > len(list(panels(BOARDS[uid]))) / 2


@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
@pytest.mark.parametrize("uid", BOARDS)
def test_every_panel_is_drawn_and_none_is_empty_that_has_data(
    scene: Scene, chromium: Browser, uid: str, size: tuple[int, int]
) -> None:
    chromium.open(scene.url(uid), *size)
    picture(chromium, f"{uid}-{size[0]}.png")
    chromium.unroll(size[0])
    picture(chromium, f"{uid}-{size[0]}-whole.png")
    name, height = PICTURES[uid]
    if size == LAPTOP:
        picture(chromium, f"dashboard-{name}.png", height)
    visible = {p["title"]: p for p in BOARDS[uid]["panels"] if p["type"] != "row"}
    shown = chromium.panels()
    assert shown.keys() >= visible.keys()
    for title, panel in visible.items():
        if scene.has_data(panel):
            assert not any(line in NOTHING for line in shown[title].splitlines()), f"{title}: {shown[title]!r}"
    assert not chromium.errors()
    assert not chromium.console()


def picture(chromium: Browser, name: str, height: int | None = None) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        chromium.shoot(Path(folder) / name, height)


def own(scene: Scene) -> Scene:
    """The scene with the live worlds; only where the Grafana is ours."""
    if os.environ.get("GRAFANA_URL"):
        pytest.skip("the Grafana of GRAFANA_URL has no such runs")
    now = int(time.time())
    return replace(scene, source="worlds", start_ms=(now - 60) * 1000, end_ms=now * 1000, values={"baseline": "none"})


@pytest.mark.parametrize("world", LIVE)
@pytest.mark.parametrize("uid", ["training-overview", "training-run"])
def test_no_panel_breaks_on_names_numbers_restarts_or_nothing(
    scene: Scene, chromium: Browser, uid: str, world: str
) -> None:
    here = own(scene)
    chromium.open(here.url(uid, instance=world, run=LIVE[world]), *LAPTOP)
    chromium.unroll(LAPTOP[0])
    picture(chromium, f"{uid}-{world}.png")
    assert not chromium.errors()
    assert not chromium.console()


def test_the_overview_says_what_to_do_where_there_is_no_run(scene: Scene, chromium: Browser) -> None:
    chromium.open(own(scene).url("training-overview", instance="none"), *LAPTOP)
    assert "No run yet: point TRAINING_LOGS at your logs" in chromium.panels()["All runs"]


@pytest.mark.parametrize("age_s", [60, 240, 480])
def test_a_run_that_has_just_begun_does_not_hang_the_overview(scene: Scene, chromium: Browser, age_s: int) -> None:
    """A sparkline of a single point does, where a short run is a point of a long time range."""
    own(scene)
    end = scene.start_ms + age_s * 1000
    chromium.open(replace(scene, start_ms=end - 43_200_000, end_ms=end).url("training-overview"), *LAPTOP)
    assert "d4-baseline" in chromium.panels()["All runs"]
    assert not chromium.console()


def test_the_overview_leads_to_the_run(scene: Scene, chromium: Browser) -> None:
    own(scene)
    chromium.open(scene.url("training-overview"), *LAPTOP)
    chromium.driver.find_element("link text", "d4-slow-disk").click()
    chromium.settle()
    assert "var-run=d4-slow-disk" in chromium.driver.current_url
    assert "training-run" in chromium.driver.current_url


def test_what_is_broken_is_noticed(scene: Scene, chromium: Browser) -> None:
    own(scene)
    chromium.open(scene.url(BROKEN), *LAPTOP)
    problems = " ".join(chromium.errors())
    assert "Refused" in problems
    assert "Unknown" in problems
    with pytest.raises(AssertionError):
        scene.has_data(broken()["panels"][0])
