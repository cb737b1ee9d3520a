"""A recorded past for Prometheus.

Logs with times are played to a real monitor under a fake clock, and every scrape that Prometheus would have made
becomes a part of its database. Minutes of a run take a second.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

from training_monitor.app.monitor import Monitor
from training_monitor.clock import FakeClock
from training_monitor.config import Config
from training_monitor.expose.render import Renderer

JOB = "training-monitor"
EPSILON = 1e-3  # seconds that rounding may take


#: How long a step took, as nanochat prints it.
DT = re.compile(rb"\| dt: ([\d.]+)ms")


class TimedLog:
    """A nanochat log that is written again at its own pace: each step comes after the time that it says it took."""

    def __init__(self, path: Path, source: Path, *, end: float, upto: float = 1.0) -> None:
        """`path`: where it is written to; the part `upto` of `source` is written so that it ends at unix time `end`."""
        self.path = path
        lines = source.read_bytes().splitlines(keepends=True)
        time, timed = 0.0, []
        for line in lines[: max(1, round(len(lines) * upto))]:
            if dt := DT.search(line):
                time += float(dt[1]) / 1000
            timed.append((time, line))
        self.start = end - time
        self.lines = [(self.start + t, line) for t, line in timed]
        self._next = 0

    def play(self, now: float) -> bool:
        """Writes what was there at `now`; True if anything was."""
        first = self._next
        while self._next < len(self.lines) and self.lines[self._next][0] <= now:
            self._next += 1
        if first == self._next:
            return False
        with self.path.open("ab") as f:
            f.writelines(text for _, text in self.lines[first : self._next])
        os.utime(self.path, (self.lines[self._next - 1][0],) * 2)
        return True


class Recorder:
    """Collects scrapes and writes them in the order that OpenMetrics asks for: family by family."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = ",".join(f'{k}="{v}"' for k, v in labels.items())
        self._families: dict[str, tuple[str, list[str]]] = {}

    def scrape(self, text: str, now: float) -> None:
        header = ""
        family: list[str] = []
        for line in text.splitlines():
            if line.startswith("# HELP"):
                header = line
            elif line.startswith("# TYPE"):
                name = line.split()[2]
                _, family = self._families.setdefault(name, (f"{header}\n{line}\n", []))
            elif not line.startswith("#"):
                family.append(f"{self._labelled(line)} {now:.3f}\n")
        self._families.setdefault("up", ("# HELP up Scrape worked.\n# TYPE up gauge\n", []))[1].append(
            f"{self._labelled('up 1')} {now:.3f}\n"
        )

    def _labelled(self, line: str) -> str:
        name, brace, rest = line.partition("{")
        if brace:
            return f"{name}{{{self._labels},{rest}"
        name, _, value = line.partition(" ")
        return f"{name}{{{self._labels}}} {value}"

    def text(self) -> str:
        return "".join(header + "".join(samples) for header, samples in self._families.values()) + "# EOF\n"


def record(logs: Sequence[TimedLog], config: Config, *, start: float, end: float, every: float, instance: str) -> str:
    """Plays the logs from `start` to `end` and gives what Prometheus would have scraped, as OpenMetrics."""
    scrapes = ceil((end - start) / every)
    clock = FakeClock(end - every * scrapes)
    folder = logs[0].path.parent
    monitor = Monitor([str(folder)], config, clock=clock, env={}, on_event=lambda run, event: None)
    renderer = Renderer(monitor.view)
    recorder = Recorder({"instance": instance, "job": JOB})
    monitor.start()
    for _ in range(scrapes):
        clock.advance(every)
        changed = {str(log.path) for log in logs if log.play(clock.now() + EPSILON)}
        monitor.round(changed)
        monitor.settle()
        recorder.scrape(renderer.render(openmetrics=True).decode(), clock.now())
    monitor.close()
    return recorder.text()


def blocks(promtool: str, openmetrics: str, folder: Path) -> None:
    """Makes a database of Prometheus from a recorded text."""
    file = folder / "recorded.om"
    file.write_text(openmetrics)
    made = subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(file), str(folder / "tsdb")],
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode or re.search("error", made.stderr, re.IGNORECASE):
        raise RuntimeError(made.stderr)
