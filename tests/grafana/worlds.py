"""Worlds to look at: real exporters that read real logs, all scraped by one real Prometheus.

Each world is one exporter; what Prometheus calls `instance` is the world's name, so that the variable `instance` of the
dashboards chooses the world.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import yaml

from real import ROOT, load
from servers import server

DATA = ROOT / "tests/data"
HOSTILE = ('say "hi"', "it's", "back\\slash", "a|b.*(c)[d]", "größe 模型 🚀", "l" * 180, "$run", "50% {{run}}")
KNOWN = {"hardware": {"peak_flops": 2.0e11, "gpus": 1}, "cost": {"usd_per_gpu_hour": 2.5}, "goal": {"target_loss": 4.0}}


#: A log of `tests/data` and the part of its lines that is meant, of 0 to 1.
Piece = tuple[str, float, float]


@dataclass(frozen=True)
class World:
    """What one exporter sees, and which runs the dashboards are asked for."""

    name: str
    runs: tuple[str, ...]
    baseline: str = "none"
    config: Mapping[str, Any] = field(default_factory=dict)
    #: Name of a log → what stands in it at first, and what is written to it while Prometheus looks.
    logs: Mapping[str, tuple[Piece, ...]] = field(default_factory=dict)


def part(log: str, *bounds: float) -> tuple[Piece, ...]:
    """Parts of a nanochat log: (0, 0.5, 0.6) is its first half, and later a tenth more."""
    return tuple((f"nanochat/base_train_{log}.log", begin, end) for begin, end in pairwise(bounds))


TRAINERS = sorted(path.name for path in (DATA / "formats").glob("*.log"))
WORLDS = (
    World("healthy", ("healthy",), config=KNOWN, logs={"healthy.log": part("ok", 0, 0.3, 0.42)}),
    World(
        "anomalies",
        ("spikes", "nan"),
        config=KNOWN,
        logs={"spikes.log": part("spike", 0, 0.25, 0.35), "nan.log": part("nan", 0, 1)},
    ),
    World(
        "baseline",
        ("now",),
        baseline="before",
        config={**KNOWN, "baseline": {"log": str(DATA / "nanochat/base_train_ok.log")}},
        logs={"now.log": part("spike", 0, 0.7), "before.log": part("ok", 0, 1)},
    ),
    World("no-mfu", ("plain",), logs={"plain.log": part("ok", 0, 0.3, 0.42)}),
    World("none", ()),
    World(
        "trainers",
        tuple(name.removesuffix(".log") for name in TRAINERS),
        logs={name: ((f"formats/{name}", 0, 1),) for name in TRAINERS},
    ),
    World(
        "hostile",
        HOSTILE,
        baseline=HOSTILE[0],
        config=KNOWN,
        logs={f"{name}.log": part("nan", 0, 1) for name in HOSTILE},
    ),
    World("restarted", ("again",), config=KNOWN, logs={"again.log": part("ok", 0, 0.4) + part("ok", 0.2, 0.5)}),
    World(
        "many",
        tuple(f"run-{i:03}" for i in range(12)),
        config=KNOWN,
        logs={f"run-{i:03}.log": part("nan", 0, 0.3 + i / 400) for i in range(200)},
    ),
)

#: What NVIDIA's DCGM exporter shows of two GPUs.
DCGM = "".join(
    f'DCGM_FI_{name}{{gpu="{gpu}",Hostname="node-1"}} {value}\n'
    for name, value in {
        "DEV_GPU_UTIL": 98,
        "DEV_FB_USED": 71000,
        "DEV_POWER_USAGE": 640,
        "DEV_GPU_TEMP": 61,
        "DEV_XID_ERRORS": 0,
        "PROF_PIPE_TENSOR_ACTIVE": 0.55,
    }.items()
    for gpu in (0, 1)
)


class Fixed(BaseHTTPRequestHandler):
    """Answers everything with the GPUs' metrics."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(DCGM.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def lines_of(piece: Piece) -> list[bytes]:
    source, begin, end = piece
    lines = (DATA / source).read_bytes().splitlines(keepends=True)
    return lines[round(begin * len(lines)) : round(end * len(lines))]


def write(world: World, folder: Path) -> Path:
    """Writes what stands in the logs at first, and the configuration; gives the configuration."""
    (folder / "logs").mkdir(parents=True)
    for name, pieces in world.logs.items():
        (folder / "logs" / name).write_bytes(b"".join(lines_of(pieces[0])))
    config = folder / "exporter.yml"
    config.write_text(yaml.safe_dump(dict(world.config)) if world.config else "")
    return config


def write_on(world: World, folder: Path) -> None:
    """Writes what comes later."""
    for name, pieces in world.logs.items():
        for piece in pieces[1:]:
            with (folder / "logs" / name).open("ab") as file:
                file.writelines(lines_of(piece))


class Prometheus:
    """A running Prometheus that answers queries as its HTTP API does."""

    def __init__(self, url: str) -> None:
        self.url = url

    def instant(self, expr: str, at: float | None = None) -> list[Any]:
        return self._ask("query", query=expr, **({"time": at} if at is not None else {}))

    def over(self, expr: str, start: float, end: float, step: float) -> list[Any]:
        return self._ask("query_range", query=expr, start=start, end=end, step=step)

    def _ask(self, what: str, **parameters: Any) -> list[Any]:
        body = urllib.parse.urlencode(parameters).encode()
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{what}", body, timeout=60) as answer:
                result: list[Any] = json.load(answer)["data"]["result"]
                return result
        except urllib.error.HTTPError as e:
            raise AssertionError(f"{e.read().decode()[:500]} for {parameters['query']}") from None

    def wait_for(self, expr: str, *, seconds: float = 60) -> None:
        """Returns once `expr` gives anything."""
        deadline = time.monotonic() + seconds
        while not self.instant(expr):
            assert time.monotonic() < deadline, f"still nothing for {expr}"
            time.sleep(0.1)


def start(stack: ExitStack, folder: Path, worlds: Sequence[World] = WORLDS) -> Prometheus:
    """Starts an exporter for each world and a Prometheus that scrapes them every second, with the real rules.

    Returns when Prometheus has seen every world before and after its logs grew.
    """
    native = load("stack/native.py")
    jobs = [{"targets": [exporter(stack, native, world, folder / world.name)], "labels": {"instance": world.name}}
            for world in worlds]  # fmt: skip
    gpus = ThreadingHTTPServer(("127.0.0.1", 0), Fixed)
    Thread(target=gpus.serve_forever, daemon=True).start()
    stack.callback(gpus.server_close)
    stack.callback(gpus.shutdown)
    scrapes = [
        {"job_name": "training-monitor", "static_configs": jobs},
        {"job_name": "dcgm", "static_configs": [{"targets": [f"127.0.0.1:{gpus.server_port}"]}]},
    ]
    found = prometheus(stack, native, folder / "prometheus", scrapes)
    ready = "count(count_over_time(training_monitor_ready[10m]) >= {}) == {}".format
    found.wait_for(ready(3, len(worlds)))
    for world in worlds:
        write_on(world, folder / world.name)
    seen = max(int(r["value"][1]) for r in found.instant("count_over_time(training_monitor_ready[10m])"))
    found.wait_for(ready(seen + 5, len(worlds)))
    return found


def exporter(stack: ExitStack, native: ModuleType, world: World, home: Path) -> str:
    """Starts an exporter; gives its address."""
    config = write(world, home)
    address = f"127.0.0.1:{native.Ports.free().exporter}"
    command = [sys.executable, "-m", "training_monitor", "serve", home / "logs", "--config.file", config]
    service = native.Service(
        world.name, [*command, "--web.listen-address", address], f"http://{address}/-/ready", home / "log"
    )
    service.start()
    stack.callback(service.stop)
    return address


def prometheus(stack: ExitStack, native: ModuleType, home: Path, scrapes: Sequence[Mapping[str, Any]]) -> Prometheus:
    """Starts a Prometheus on what `home` has of a database."""
    home.mkdir(exist_ok=True)
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ROOT / "prometheus/rules/*.yml")],
        "scrape_configs": list(scrapes),
    }
    (home / "prometheus.yml").write_text(yaml.safe_dump(settings))
    address = f"127.0.0.1:{native.Ports.free().prometheus}"
    command = [
        server("prometheus"),
        f"--config.file={home}/prometheus.yml",
        f"--storage.tsdb.path={home}/tsdb",
        "--storage.tsdb.retention.time=10y",
        f"--web.listen-address={address}",
    ]
    service = native.Service("prometheus", command, f"http://{address}/-/ready", home / "log")
    service.start()
    stack.callback(service.stop)
    service.wait(time.monotonic() + 60)
    return Prometheus(f"http://{address}")
