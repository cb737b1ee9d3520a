"""The real exporter as a process of its own, for tests that kill, starve or load it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

DEADLINE_S = 60.0


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def until(true: Callable[[], bool], deadline_s: float = DEADLINE_S, every_s: float = 0.02) -> None:
    """Waits for an event; fails after the deadline."""
    end = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(every_s)


class Exporter:
    """`training-monitor serve` on some paths. `folder` holds its configuration, state and log."""

    def __init__(
        self, folder: Path, paths: Sequence[Path | str], *, config: str = "", env: dict[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.state, self.log = folder, folder / "state", folder / "exporter.log"
        self.port = free_port()
        self._config = folder / "exporter.yml"
        self._config.write_text(config)
        self._paths, self._env = [str(path) for path in paths], {**os.environ, **(env or {})}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True) -> None:
        command = [sys.executable, "-m", "training_monitor", "serve", *self._paths, "--state.dir", str(self.state)]
        command += ["--config.file", str(self._config), "--web.listen-address", f"127.0.0.1:{self.port}"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log, env=self._env)
        if wait:
            until(lambda: self.status("/-/ready") == 200)

    def kill(self) -> None:
        """As the kernel does it: no last word, nothing saved."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Asks it to end; gives its exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        status = self.process.wait(DEADLINE_S)
        self.process = None
        return status

    def get(self, path: str = "/metrics") -> str:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=30) as answer:
            return str(answer.read().decode())

    def status(self, path: str) -> int | None:
        """The HTTP status; None if nobody answers."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as e:
            e.close()
            return e.code
        except OSError:
            return None

    def metrics(self) -> dict[str, float]:
        """Sample, with its labels, → value."""
        lines = [line for line in self.get().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def memory_kb(self) -> int:
        """Resident set size."""
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1])

    def cpu_s(self) -> float:
        """CPU seconds used so far."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
