"""Runs the whole stack without Docker, from the same configuration files, until Ctrl-C.

    python stack/native.py [PATH …] [--config.file F] [--dir DIR]       watches PATH (make stack)
    python stack/native.py --demo                                       ends in a page on this terminal (make demo)

Prometheus and Alertmanager are taken from PATH, from .cache/servers*/bin, or out of Debian's packages (stack/fetch).
Everything listens on loopback. Edited rules and configurations are taken up within seconds.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "stack"), str(ROOT / "alertmanager")]

import render  # noqa: E402
from feed import feed  # noqa: E402
from receiver import receiver, show  # noqa: E402

SAMPLE = ROOT / "examples/nanochat/base_train_slow.log"
HOST = "127.0.0.1"
PROGRAMS = ("prometheus", "alertmanager")
FOLDERS = (ROOT / ".cache/servers/bin", ROOT / ".cache/servers-debian/bin")
READY_S = 60.0  # a first start that reads large logs may take that long
DEMO_S = 120.0
WATCH_S = 2.0


class StackError(Exception):
    """What keeps the stack from running, in a sentence for the user."""


@dataclass
class Ports:
    """Where everything listens, on loopback. The same names as in .env, e.g. PROMETHEUS_PORT."""

    exporter: int = 10042
    receiver: int = 10043
    prometheus: int = 9090
    alertmanager: int = 9093

    @classmethod
    def chosen(cls, settings: Mapping[str, str]) -> Ports:
        """The ports that the user chose. Raises StackError for what is no port."""
        ports = cls()
        for f in fields(cls):
            value = settings.get(f"{f.name.upper()}_PORT", str(f.default))
            if not value.isdigit() or not 0 < int(value) < 65536:
                raise StackError(f"{f.name.upper()}_PORT: {value!r} is not a port")
            setattr(ports, f.name, int(value))
        return ports

    @classmethod
    def free(cls) -> Ports:
        """Ports that nobody uses now."""
        sockets = [socket.create_server((HOST, 0)) for _ in fields(cls)]
        ports = cls(*(s.getsockname()[1] for s in sockets))
        for s in sockets:
            s.close()
        return ports

    def check(self) -> None:
        """Raises StackError with every port that is taken."""
        taken = [f.name for f in fields(self) if not is_free(getattr(self, f.name))]
        if taken:
            raise StackError(
                "\n".join(
                    f"port {getattr(self, name)} for {name} is in use: stop what uses it, or set {name.upper()}_PORT"
                    for name in taken
                )
            )


def is_free(port: int) -> bool:
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return True


class Service:
    """A program that runs in the background and says on HTTP when it is ready."""

    def __init__(self, name: str, command: Sequence[str | Path], ready: str, log: Path) -> None:
        self.name, self.command, self.ready, self.log = name, [str(part) for part in command], ready, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 — a session of its own: Ctrl-C reaches only this script
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self, deadline: float) -> None:
        """Returns when the service is ready; raises StackError if it ends before or takes too long."""
        while not self.is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise StackError(f"{self.name} is not ready after {READY_S:.0f} s; its last lines:\n{self.tail()}")
            time.sleep(0.05)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.ready, timeout=2) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def check(self) -> None:
        """Raises StackError if the process has ended."""
        if self.process is not None and self.process.poll() is not None:
            last = self.tail()
            hint = "\nDebian's Alertmanager lacks its templates: run stack/fetch" if "default.tmpl" in last else ""
            raise StackError(f"{self.name} ended with {self.process.returncode}; its last lines:\n{last}{hint}")

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])

    def signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def stop(self) -> None:
        if self.process is None:
            return
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


class Stack:
    """Exporter, Prometheus, Alertmanager and a receiver. `source` holds prometheus/ and alertmanager/."""

    def __init__(
        self,
        folder: Path,
        ports: Ports,
        paths: Sequence[str],
        *,
        config: Path | None = None,
        source: Path = ROOT,
        on_page: Callable[[dict[str, Any]], None] = show,
    ) -> None:
        self.folder, self.ports, self.source = folder, ports, source
        self.on_page = on_page
        self.told: list[str] = []
        programs = find_programs()
        self.version = version_of(programs["alertmanager"])
        exporter: list[str | Path] = [
            sys.executable,
            "-m",
            "training_monitor",
            "serve",
            *paths,
            "--state.dir",
            folder / "state",
        ]
        if config is not None:
            exporter += ["--config.file", config]
        self.services = {
            service.name: service
            for service in (
                self._service("exporter", [*exporter, "--web.listen-address", f"{HOST}:{ports.exporter}"]),
                self._service(
                    "alertmanager",
                    [
                        programs["alertmanager"],
                        f"--config.file={folder}/alertmanager/alertmanager.yml",
                        f"--storage.path={folder}/alertmanager/data",
                        f"--web.listen-address={HOST}:{ports.alertmanager}",
                        f"--web.external-url=http://localhost:{ports.alertmanager}",
                        "--cluster.listen-address=",
                    ],
                ),
                self._service(
                    "prometheus",
                    [
                        programs["prometheus"],
                        f"--config.file={folder}/prometheus/prometheus.yml",
                        f"--storage.tsdb.path={folder}/prometheus/data",
                        "--storage.tsdb.retention.time=30d",
                        f"--web.listen-address={HOST}:{ports.prometheus}",
                        f"--web.external-url=http://localhost:{ports.prometheus}",
                    ],
                ),
            )
        }

    def _service(self, name: str, command: Sequence[str | Path]) -> Service:
        url = f"http://{HOST}:{getattr(self.ports, name)}/-/ready"
        return Service(name, command, url, self.folder / "logs" / f"{name}.log")

    def prepare(self) -> None:
        """Lays out the configuration: the very files of `source`, with the addresses of this machine."""
        prometheus = self.folder / "prometheus"
        (prometheus / "targets").mkdir(parents=True, exist_ok=True)
        for name in ("prometheus.yml", "rules"):
            (prometheus / name).unlink(missing_ok=True)
            (prometheus / name).symlink_to(self.source / "prometheus" / name)
        for name in ("exporter", "alertmanager"):
            target = f"- targets: ['{HOST}:{getattr(self.ports, name)}']\n"
            (prometheus / "targets" / f"{name}.yml").write_text(target)
        self.render()

    def render(self) -> None:
        """Writes Alertmanager's configuration; `told` says which receivers are configured."""
        here = self.source / "alertmanager"
        url = f"http://{HOST}:{self.ports.receiver}/"
        config, self.told = render.render(here / "secrets", receiver=url, version=self.version, here=here)
        render.write(config, self.folder / "alertmanager/alertmanager.yml")

    def start(self) -> None:
        """Starts everything and waits until it is ready."""
        self.ports.check()
        self.prepare()
        self.receiver = receiver(HOST, self.ports.receiver, self.on_page)
        threading.Thread(target=self.receiver.serve_forever, daemon=True).start()
        deadline = time.monotonic() + READY_S
        for service in self.services.values():
            service.start()
        for service in self.services.values():
            service.wait(deadline)

    def stop(self) -> None:
        for service in reversed(self.services.values()):
            service.stop()
        if hasattr(self, "receiver"):
            self.receiver.shutdown()
            self.receiver.server_close()

    def edited(self) -> float:
        """When a rule or configuration was last edited."""
        files = [f for name in ("prometheus", "alertmanager") for f in (self.source / name).rglob("*")]
        return max((f.stat().st_mtime for f in files if f.suffix != ".py"), default=0.0)

    def reload(self) -> None:
        """Makes the servers read their files again; a broken file changes nothing."""
        self.render()
        self.services["prometheus"].signal(signal.SIGHUP)
        self.services["alertmanager"].signal(signal.SIGHUP)

    def check(self) -> None:
        """Raises StackError if a service has ended."""
        for service in self.services.values():
            service.check()


def chosen_settings(env: Mapping[str, str], file: Path = ROOT / ".env") -> dict[str, str]:
    """The settings of .env, as docker compose reads them, overridden by the environment."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {**{name.strip(): value.strip().strip("'\"") for name, value in pairs}, **env}


def find_programs() -> dict[str, Path]:
    """Where Prometheus and Alertmanager are. Gets them out of Debian's packages if need be; raises StackError."""
    found = look()
    if len(found) < len(PROGRAMS):
        if not shutil.which("apt-get"):
            raise StackError(
                "Prometheus and Alertmanager are not on PATH; get them from https://prometheus.io/download/"
            )
        print("Getting Prometheus and Alertmanager out of Debian's packages, once …", flush=True)
        if subprocess.run([ROOT / "stack/fetch"], check=False).returncode != 0:  # noqa: S603
            raise StackError("Prometheus and Alertmanager could not be had, see above")
        found = look()
    return found


def look() -> dict[str, Path]:
    where = os.pathsep.join([os.environ.get("PATH", ""), *map(str, FOLDERS)])
    names = {"alertmanager": ("alertmanager", "prometheus-alertmanager"), "prometheus": ("prometheus",)}
    found = {name: next(filter(None, (shutil.which(n, path=where) for n in names[name])), None) for name in PROGRAMS}
    return {name: Path(path) for name, path in found.items() if path}


def version_of(program: Path) -> str:
    """`0.33.1`."""
    shown = subprocess.run([program, "--version"], check=False, capture_output=True, text=True)  # noqa: S603
    match = re.search(r"version (\d+\.\d+\.\d+)", shown.stdout + shown.stderr)
    return match[1] if match else "999"


def run(stack: Stack) -> int:
    """Runs the stack until Ctrl-C."""
    stack.start()
    ports = stack.ports
    print(f"exporter      http://localhost:{ports.exporter}/")
    print(f"prometheus    http://localhost:{ports.prometheus}/alerts")
    print(f"alertmanager  http://localhost:{ports.alertmanager}/")
    print("pages         appear here, and by\n  " + "\n  ".join(stack.told))
    print(f"logs          {stack.folder}/logs\nCtrl-C stops everything.", flush=True)
    edited = stack.edited()
    while True:
        time.sleep(WATCH_S)
        stack.check()
        if stack.edited() != edited:
            edited = stack.edited()
            print("configuration edited: reloading", flush=True)
            stack.reload()


def demo(folder: Path, rate: float = 25.0) -> int:
    """Replays a real log in which the MFU drops, as if it were live, until the page is here."""
    paged = threading.Event()

    def on_page(page: dict[str, Any]) -> None:
        show(page)
        if any(alert["labels"].get("severity") == "critical" for alert in page["alerts"]):
            paged.set()

    log = folder / "runs" / SAMPLE.name
    log.parent.mkdir(parents=True)
    stack = Stack(folder, Ports.free(), [str(log.parent)], config=ROOT / "stack/exporter.yml", on_page=on_page)
    try:
        stack.start()
        print(f"Replaying {SAMPLE.relative_to(ROOT)} at {rate:.0f} steps a second; its MFU drops at step 223.")
        print("log → exporter → Prometheus → Alertmanager → page", flush=True)
        threading.Thread(target=feed, args=(SAMPLE, log, rate, "step "), daemon=True).start()
        deadline = time.monotonic() + DEMO_S
        while not paged.wait(0.5):
            stack.check()
            if time.monotonic() > deadline:
                raise StackError(f"no page within {DEMO_S:.0f} s; see the logs in {folder}/logs")
        return 0
    finally:
        stack.stop()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Runs the monitoring stack without Docker.")
    settings = chosen_settings(os.environ)
    logs = settings.get("TRAINING_LOGS", str(SAMPLE.parent))
    config = Path(settings.get("EXPORTER_CONFIG", ROOT / "stack/exporter.yml"))
    parser.add_argument("paths", nargs="*", default=[logs], help="logs to watch (default: TRAINING_LOGS, or a sample)")
    parser.add_argument("--config.file", dest="config", type=Path, default=config)
    parser.add_argument("--dir", type=Path, default=ROOT / ".stack", help="data and logs (default: .stack)")
    parser.add_argument("--demo", action="store_true", help="replay a bundled log until its page arrives, then end")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    stack = None
    try:
        if args.demo:
            with tempfile.TemporaryDirectory(prefix="training-monitor-") as folder:
                return demo(Path(folder))
        stack = Stack(args.dir.resolve(), Ports.chosen(settings), args.paths, config=args.config)
        return run(stack)
    except StackError as e:
        print(f"stack: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopping …", flush=True)
        return 0
    finally:
        if stack is not None:
            stack.stop()


if __name__ == "__main__":
    sys.exit(main())
