"""Runs the whole stack without Docker, from the same configuration files, until Ctrl-C.

    python stack/native.py [PATH …] [--config.file F] [--dir DIR]       watches PATH (make stack)
    python stack/native.py --demo                                       ends in a page on this terminal (make demo)

Prometheus and Alertmanager are taken from PATH, from .cache/servers*/bin, or out of Debian's packages (stack/fetch).
Everything listens on loopback. Edited rules and configurations are taken up within seconds.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "stack"), str(ROOT / "alertmanager")]

import render  # noqa: E402
from feed import feed  # noqa: E402
from programs import (  # noqa: E402
    HOST,
    READY_S,
    NoServersError,
    Ports,
    Service,
    StackError,
    chosen_settings,
    find_programs,
    version_of,
)
from receiver import receiver, show  # noqa: E402

SAMPLE = ROOT / "examples/nanochat/base_train_slow.log"
DEMO_S = 120.0
WATCH_S = 2.0


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


def tell(problem: StackError) -> int:
    print(f"stack: {problem}", file=sys.stderr)
    return 1


def demo_without_servers(reason: NoServersError) -> int:
    """Shows what would have paged."""
    print(f"{reason}\nWithout them no page can be sent. What would have alerted in the same log:", flush=True)
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "training_monitor",
        "replay",
        SAMPLE,
        "--config.file",
        ROOT / "stack/exporter.yml",
    ]
    return subprocess.run(command, check=False).returncode  # noqa: S603


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
    except NoServersError as e:
        return demo_without_servers(e) if args.demo else tell(e)
    except StackError as e:
        return tell(e)
    except KeyboardInterrupt:
        print("\nstopping …", flush=True)
        return 0
    finally:
        if stack is not None:
            stack.stop()


if __name__ == "__main__":
    sys.exit(main())
