"""The programs of the stack: where they are found, where they listen, how they start and stop."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
PROGRAMS = ("prometheus", "alertmanager")
FOLDERS = (ROOT / ".cache/servers/bin", ROOT / ".cache/servers-debian/bin")
READY_S = 60.0  # a first start that reads large logs may take that long


class StackError(Exception):
    """What keeps the stack from running, in a sentence for the user."""


class NoServersError(StackError):
    """Prometheus and Alertmanager cannot be had here."""


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
            if "default.tmpl" in last:
                raise NoServersError("Debian's Alertmanager lacks its templates: run stack/fetch")
            raise StackError(f"{self.name} ended with {self.process.returncode}; its last lines:\n{last}")

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


def chosen_settings(env: Mapping[str, str], file: Path = ROOT / ".env") -> dict[str, str]:
    """The settings of .env, as docker compose reads them, overridden by the environment."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {**{name.strip(): value.strip().strip("'\"") for name, value in pairs}, **env}


def find_programs() -> dict[str, Path]:
    """Where Prometheus and Alertmanager are. Gets them out of Debian's packages if need be; raises NoServersError."""
    found = look()
    if len(found) < len(PROGRAMS):
        if not shutil.which("apt-get"):
            raise NoServersError("Prometheus and Alertmanager are not on PATH: https://prometheus.io/download/")
        print("Getting Prometheus and Alertmanager out of Debian's packages, once …", flush=True)
        if subprocess.run([ROOT / "stack/fetch"], check=False).returncode != 0:  # noqa: S603
            raise NoServersError("Prometheus and Alertmanager could not be had, see above")
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
