"""The stack with real servers, made fast for tests: every interval of the shipped files is shortened, nothing else."""

from __future__ import annotations

import json
import random
import shutil
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from real import ROOT, load

native = load("stack/native.py")

#: Shipped interval → interval in tests, in each file, in this order.
SHORTER = {
    "prometheus/prometheus.yml": {
        "scrape_interval: 5s": "scrape_interval: 400ms",
        "scrape_timeout: 4s": "scrape_timeout: 400ms",
        "evaluation_interval: 5s": "evaluation_interval: 400ms",
    },
    "prometheus/rules/alerts.yml": {
        "[10m]": "[6s]",
        "[15m]": "[7s]",
        "[1m]": "[2s]",
        "for: 2m": "for: 2s",
        "for: 1m": "for: 1s",
        "keep_firing_for: 5m": "keep_firing_for: 3s",
    },
    "alertmanager/alertmanager.yml": {
        "group_wait: 1s": "group_wait: 200ms",
        "group_wait: 30s": "group_wait: 1s",
        "group_interval: 5m": "group_interval: 1s",
        "group_interval: 5s": "group_interval: 500ms",
    },
}
WAIT_S = 40.0


def shortened(folder: Path, event: str = "6s") -> Path:
    """A copy of the configuration in which everything goes fast; an event is seen for as long as `event` says."""
    for name in ("prometheus", "alertmanager"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("secrets", "__pycache__"))
    for name, changes in SHORTER.items():
        text = (folder / name).read_text()
        for old, new in changes.items():
            assert old in text, f"{name} has no {old}"
            text = text.replace(old, f"[{event}]" if old == "[10m]" else new)
        (folder / name).write_text(text)
    return folder


class Page(NamedTuple):
    """One alert of one notification."""

    at: float  # monotonic
    alert: str
    severity: str
    status: str  # firing or resolved
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    receiver: str


class Recorder:
    """Takes the pages. `refuse` says of which alerts to refuse delivery."""

    def __init__(self) -> None:
        self.pages: list[Page] = []
        self.refuse: Callable[[Mapping[str, str]], bool] = lambda labels: False
        self._came = threading.Condition()

    def take(self, page: dict[str, Any]) -> None:
        alerts = page["alerts"]
        if any(self.refuse(alert["labels"]) for alert in alerts):
            raise ConnectionRefusedError
        now = time.monotonic()
        with self._came:
            self.pages += [
                Page(
                    now,
                    alert["labels"]["alertname"],
                    alert["labels"]["severity"],
                    alert["status"],
                    alert["labels"],
                    alert["annotations"],
                    page["receiver"],
                )
                for alert in alerts
            ]
            self._came.notify_all()

    def of(self, alert: str = "", status: str = "firing", **labels: str) -> list[Page]:
        """The pages so far, of one alert and with these labels where given."""
        return [
            p
            for p in self.pages
            if alert in ("", p.alert) and p.status == status and all(p.labels.get(k) == v for k, v in labels.items())
        ]

    def wait(self, alert: str, status: str = "firing", within: float = WAIT_S, **labels: str) -> Page:
        """The first such page; fails if it does not come in time."""
        with self._came:
            came = self._came.wait_for(lambda: self.of(alert, status, **labels), within)
        assert came, f"no page {alert} {status} {labels}; there were {self.told()}"
        return self.of(alert, status, **labels)[0]

    def told(self) -> list[str]:
        return [f"{p.alert}/{p.severity} {p.labels.get('run', '')} {p.status}" for p in self.pages]


class Stub:
    """An exporter whose metrics a test sets."""

    def __init__(self) -> None:
        self.text, self.up = "", True
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = stub.text.encode() if stub.up else b""
                self.send_response(200 if stub.up else 503)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((native.HOST, 0), Handler)
        self.address = f"{native.HOST}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def set(self, samples: Iterable[str]) -> None:
        """Shows these samples, in Prometheus' text format, from the next scrape on."""
        self.text = "".join(f"{sample}\n" for sample in samples)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Live(native.Stack):  # type: ignore[name-defined,misc]
    """The whole stack on free ports: the real exporter, stubs beside it, and a recorder in place of a person."""

    def __init__(self, folder: Path, stubs: int = 0, *, event: str = "6s", resend: str = "1s") -> None:
        self.logs = folder / "runs"
        self.logs.mkdir(parents=True)
        self.recorder = Recorder()
        self.stubs = [Stub() for _ in range(stubs)]
        file = folder / "exporter.yml"
        file.write_text("sources: {rescan: 1s, poll: 1s}\n")
        super().__init__(
            folder / "stack",
            native.Ports.free(),
            [str(self.logs)],
            config=file,
            source=shortened(folder / "source", event),
            on_page=self.recorder.take,
        )
        self.services["prometheus"].command.append(f"--rules.alert.resend-delay={resend}")

    def prepare(self) -> None:
        super().prepare()
        targets = [f"{native.HOST}:{self.ports.exporter}", *(stub.address for stub in self.stubs)]
        (self.folder / "prometheus/targets/exporter.yml").write_text(f"- targets: {targets}\n")

    def stop(self) -> None:
        super().stop()
        for stub in self.stubs:
            stub.close()

    def restart(self, name: str, *, kill: bool = False, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Stops a service (as kill -9 does, where asked to), does something while it is away, starts it again."""
        service = self.services[name]
        if kill:
            service.process.kill()
            service.process.wait()
        else:
            service.stop()
        meanwhile()
        service.start()
        service.wait(time.monotonic() + native.READY_S)

    def fetch(self, path: str) -> str:
        """What Prometheus answers."""
        with urllib.request.urlopen(f"http://{native.HOST}:{self.ports.prometheus}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query."""
        path = "/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        return list(json.loads(self.fetch(path))["data"]["result"])

    def until(self, expression: str, within: float = WAIT_S) -> list[dict[str, Any]]:
        """The result of a query as soon as it has one."""
        deadline = time.monotonic() + within
        while not (result := self.query(expression)):
            assert time.monotonic() < deadline, f"{expression} has no result; pages: {self.recorder.told()}"
            time.sleep(0.1)
        return result

    def append(self, run: str, lines: Iterable[bytes], rate: float = 150.0) -> None:
        """Writes lines to the log of a run, one by one."""
        with (self.logs / f"{run}.log").open("ab", buffering=0) as file:
            for line in lines:
                file.write(line)
                time.sleep(1 / rate)

    def begin(self, run: str, lines: Iterable[bytes]) -> None:
        """Writes the first lines of a run and waits until Prometheus knows it."""
        (self.logs / f"{run}.log").write_bytes(b"".join(lines))
        self.until(f'count_over_time(training_run_state{{run="{run}",state="running"}}[5s]) > 1')


def iterations(first: int, last: int, odd: Mapping[int, str] | None = None) -> list[bytes]:
    """Lines as nanoGPT prints them, of a run without troubles but the `odd` losses."""
    losses = {i: f"{random.Random(i).gauss(3.0, 0.03):.4f}" for i in range(first, last)} | (odd or {})
    return [f"iter {i}: loss {losses[i]}, time 250.00ms, mfu 40.00%\n".encode() for i in range(first, last)]
