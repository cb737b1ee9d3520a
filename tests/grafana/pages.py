"""A real Grafana, and a real browser that looks at it."""

from __future__ import annotations

import os
import shutil
import time
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import requests
import yaml

from real import ROOT, load

#: Nothing is asked of anybody outside; who is not signed in may look.
SETTINGS = {
    "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
    "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    "GF_ANALYTICS_REPORTING_ENABLED": "false",
    "GF_AUTH_ANONYMOUS_ENABLED": "true",
    "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
    "GF_FEATURE_TOGGLES_ENABLE": "timeSeriesTable",  # sparklines in tables, on by default since 10.4
    "GF_NEWS_NEWS_FEED_ENABLED": "false",
    "GF_PLUGINS_PREINSTALL_AUTO_UPDATE": "false",
    "GF_SERVER_HTTP_ADDR": "127.0.0.1",
}
#: Console errors that say nothing about a dashboard.
HARMLESS = ("apple-mobile-web-app-capable", "favicon")
#: Marks of errors, each with the panel it stands in.
ERRORS = """
const marks = ['[aria-label^="Panel status"]',
  '[data-testid^="data-testid Panel status error"]', '[aria-label="Alert error"]'];
const panel = '[data-testid^="data-testid Panel header"]';
return [...document.querySelectorAll(marks.join())]
  .map(e => (e.closest(panel)?.dataset.testid ?? '') + ' ' + e.innerText);
"""
SETTLED = 6  # looks without a change
LOOK_S = 0.25


class Grafana:
    """Grafana's HTTP API. `url` may hold user and password."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url = url.rstrip("/")
        self.session = requests.Session()
        if parts.username:
            self.session.auth = (parts.username, parts.password or "")

    def get(self, path: str) -> Any:
        answer = self.session.get(f"{self.url}{path}", timeout=30)
        assert answer.ok, f"{path}: {answer.status_code} {answer.text[:300]}"
        return answer.json()

    def query(self, queries: Sequence[Mapping[str, Any]], start_ms: int, end_ms: int) -> dict[str, Any]:
        """The answer to each query, by refId; fails on the first that is refused."""
        body = {"queries": list(queries), "from": str(start_ms), "to": str(end_ms)}
        answer = self.session.post(f"{self.url}/api/ds/query", json=body, timeout=60)
        results: dict[str, Any] = answer.json().get("results", {})
        problems = {ref: r["error"] for ref, r in results.items() if r.get("error")}
        assert answer.ok, f"{answer.status_code} {problems or answer.text[:300]}"
        assert not problems
        return results

    def page(self, uid: str, start_ms: int, end_ms: int, values: Mapping[str, Any]) -> str:
        """The address of a dashboard for a time range, with values of its variables."""
        pairs: list[tuple[str, Any]] = [("from", start_ms), ("to", end_ms)]
        for name, value in values.items():
            pairs += [(f"var-{name}", one) for one in ([value] if isinstance(value, str) else value)]
        return f"{self.url}/d/{uid}/{uid}?{urlencode(pairs)}"


def program() -> Path:
    """`grafana-server` or `grafana` of PATH; skips where there is none."""
    found = shutil.which("grafana-server") or shutil.which("grafana")
    if found is None:
        pytest.skip("no Grafana: neither GRAFANA_URL is set nor is grafana-server or grafana on PATH")
    return Path(found)


def launched(stack: ExitStack, home: Path, sources: Mapping[str, str], boards: Sequence[Path]) -> Grafana:
    """Starts a Grafana with our provisioning; `sources`: data source uid → address; `boards`: folders of dashboards."""
    binary = program()
    places = [os.environ.get("GF_PATHS_HOME"), "/usr/share/grafana", binary.resolve().parent.parent]
    homepath = next((Path(p) for p in places if p and (Path(p) / "conf/defaults.ini").exists()), None)
    if homepath is None:
        pytest.skip(f"{binary} without its conf and public folders: set GF_PATHS_HOME")
    provision(home / "provisioning", sources, boards)
    native = load("stack/native.py")
    port = native.Ports.free().exporter
    paths = {
        "DATA": home / "data",
        "LOGS": home / "logs",
        "PLUGINS": home / "plugins",
        "PROVISIONING": home / "provisioning",
    }
    settings = {**SETTINGS, "GF_SERVER_HTTP_PORT": str(port), **{f"GF_PATHS_{k}": str(v) for k, v in paths.items()}}
    command = [binary, *(["server"] if binary.name == "grafana" else []), "--homepath", homepath]
    url = f"http://127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        service = native.Service("grafana", command, f"{url}/api/health", home / "log")
        service.start()
    stack.callback(service.stop)
    deadline = time.monotonic() + 120
    service.wait(deadline)
    grafana, files = Grafana(url), [file for folder in boards for file in folder.glob("*.json")]
    while len(grafana.get("/api/search?type=dash-db")) < len(files):  # they come a moment after the server
        assert time.monotonic() < deadline, service.tail()
        time.sleep(LOOK_S)
    return grafana


def provision(folder: Path, sources: Mapping[str, str], boards: Sequence[Path]) -> None:
    """Our own provisioning with the addresses of this machine."""
    for name in ("datasources", "dashboards", "plugins", "alerting", "notifiers"):
        (folder / name).mkdir(parents=True)
    ours = yaml.safe_load((ROOT / "grafana/provisioning/datasources/prometheus.yml").read_text())
    (template,) = ours["datasources"]
    ours["datasources"] = [
        {**template, "uid": uid, "name": uid.capitalize(), "url": url, "isDefault": i == 0}
        for i, (uid, url) in enumerate(sources.items())
    ]
    (folder / "datasources/prometheus.yml").write_text(yaml.safe_dump(ours))
    ours = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/training.yml").read_text())
    (template,) = ours["providers"]
    first, *more = boards
    ours["providers"] = [{**template, "options": {"path": str(first)}}]
    for path in more:
        own = {"name": path.name, "folder": path.name, "folderUid": path.name, "options": {"path": str(path)}}
        ours["providers"].append({**template, **own})
    (folder / "dashboards/training.yml").write_text(yaml.safe_dump(ours))


class Browser:
    """Headless Chromium on one page at a time."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, url: str, width: int, height: int) -> None:
        """Opens a page at this size of the viewport and waits until its visible panels do not change any more."""
        self._size(width, height)
        self.driver.get_log("browser")
        self.driver.get("about:blank")
        self.driver.get(url)
        self.settle()

    def unroll(self, width: int) -> None:
        """Makes the viewport as high as the page, so that every panel is drawn."""
        for _ in range(3):  # what is drawn may make the page higher
            height = self.driver.execute_script(
                "const inner = document.querySelector('.scrollbar-view')?.scrollHeight ?? 0;"  # until Grafana 11
                "return Math.max(document.documentElement.scrollHeight, inner + 90)"
            )
            self._size(width, height)
            self.settle()

    def settle(self, seconds: float = 90) -> None:
        deadline, before, same = time.monotonic() + seconds, {}, 0
        while same < SETTLED:
            assert time.monotonic() < deadline, "the page does not come to rest"
            time.sleep(LOOK_S)
            now = self.panels()
            same = same + 1 if now and now == before and not self._loading() else 0
            before = now

    def panels(self) -> dict[str, str]:
        """The text of every panel that is drawn, by title."""
        return dict(
            self.driver.execute_script(
                "const mark = 'data-testid Panel header ';"
                "return [...document.querySelectorAll(`[data-testid^='${mark}']`)]"
                ".map(e => [e.dataset.testid.slice(mark.length), e.innerText])"
            )
        )

    def errors(self) -> list[str]:
        """Panels that show an error mark, and what a panel or the page says of an error."""
        marks: list[str] = self.driver.execute_script(ERRORS)
        said = ("Panel plugin not found", "An unexpected error", "Missing X dimension", "No Y values", "Error updating")
        return marks + [f"{title}: {text!r}" for title, text in self.panels().items() if any(s in text for s in said)]

    def console(self) -> list[str]:
        """Errors on the browser's console since the page was opened."""
        entries = [e["message"] for e in self.driver.get_log("browser") if e["level"] == "SEVERE"]
        return [message for message in entries if not any(h in message for h in HARMLESS)]

    def shoot(self, file: Path, height: int | None = None) -> None:
        """Writes a PNG of the viewport, or of so much of it from the top."""
        size = self.driver.execute_script("return [innerWidth, innerHeight]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": min(height or size[1], size[1]), "scale": 1}
        answer = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "clip": clip})
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b64decode(answer["data"]))

    def _loading(self) -> bool:
        bars = ".panel-loading, [aria-label='Panel loading bar'], [data-testid='Spinner'], .preloader"
        return bool(self.driver.execute_script(f'return document.querySelector("{bars}") !== null'))

    def _size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": int(height), "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A headless Chromium that asks nothing of the world; skips where there is none."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, chromedriver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("chromium and chromedriver are not on PATH")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", f"--user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(chromedriver))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
