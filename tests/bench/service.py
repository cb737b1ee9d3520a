"""What the running exporter costs and how quick it is, each figure beside its goal.

    python tests/bench/service.py [start] [latency] [quiet] [scrape] [folder]

start    from the command to the first answer of /metrics, with one log of 1,600 steps
latency  from a line written to its value on /metrics, also while 1,000 runs are scraped
quiet    CPU and memory with 100 runs that say nothing, scraped every 15 s
scrape   /metrics with 1,000 runs beside mtail with as many series; memory of 1,000 runs; their restart
folder   CPU with 100,000 files in the folder, of which 10 are logs
"""

from __future__ import annotations

import http.client
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from serving import Exporter, free_port, until

ROOT = Path(__file__).parents[2]
LOG = (ROOT / "tests/data/nanochat/base_train_spike.log").read_bytes()
QUIET = LOG[: LOG.index(b"\n", 200_000) + 1]  # about 1,200 steps of a run that has not ended
STEP = (
    "step {i:05d}/01600 (75.00%) | loss: 4.{i:04d}00 | lrm: 1.00 | dt: 300.00ms | tok/sec: 3,413 | bf16_mfu: 40.00 | "
    "epoch: 1 pq: 1 rg: 0 | total time: 5.00m | eta: 3.0m\n"
)
MTAIL = """gauge series by run, name, kind
/^(?P<run>\\S+) (?P<name>\\S+) (?P<kind>\\S+) (?P<value>\\S+)$/ {
  series[$run][$name][$kind] = float($value)
}
"""


@contextmanager
def serving(runs: int, more: Callable[[Path], None] | None = None) -> Iterator[tuple[Exporter, Path]]:
    """An exporter that has caught up with so many quiet runs, and saved them."""
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder) / "logs"
        logs.mkdir()
        for i in range(runs):
            (logs / f"run{i:04d}.log").write_bytes(QUIET)
        if more is not None:
            more(logs)
        exporter = Exporter(Path(folder) / "exporter", [logs])
        exporter.start(wait=False)
        try:
            until(lambda: exporter.status("/-/ready") == 200, deadline_s=300, every_s=0.2)
            until(lambda: len(list(exporter.state.glob("*.state"))) == runs, deadline_s=300, every_s=0.2)
            yield exporter, logs
        finally:
            exporter.stop()


def timed(url: str, times: int = 5) -> tuple[float, int]:
    """Median seconds of a GET, and the lines in its answer."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        with urllib.request.urlopen(url) as answer:
            body = answer.read()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), sum(not line.startswith(b"#") for line in body.splitlines())


def start() -> None:
    """With compiled modules, as pip leaves them: they are not compiled anew at each start."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    seconds, cpu = [], []
    for _ in range(8):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "train.log").write_bytes(LOG)
            exporter = Exporter(Path(folder) / "exporter", [Path(folder) / "train.log"])
            began = time.perf_counter()
            exporter.start(wait=False)
            until(lambda e=exporter: e.status("/metrics") == 200, every_s=0.01)  # type: ignore[misc]
            seconds.append(time.perf_counter() - began)
            cpu.append(exporter.cpu_s())
            exporter.stop()
    median, used = statistics.median(seconds[1:]), statistics.median(cpu[1:])
    told("start to first scrape", f"{1e3 * median:.0f} ms, {1e3 * used:.0f} ms CPU", "at most 400 ms")


def latency() -> None:
    with serving(1000) as (exporter, logs):
        page = f"{exporter.url}/metrics?name[]=training_loss"
        seconds = [delay(page, logs / "run0007.log", i, f"4.{i:04d}".rstrip("0")) for i in range(1300, 1400)]
        told("line to /metrics, 1,000 runs", centiles(seconds), "p99 at most 100 ms")
        enough = threading.Event()

        def scrape() -> None:
            while not enough.wait(0.5):
                timed(f"{exporter.url}/metrics", 1)

        scraper = threading.Thread(target=scrape)
        scraper.start()
        # On the landing page: scrapes are answered one at a time, so that another one would wait for its turn.
        seconds = [delay(exporter.url, logs / "run0008.log", i, f"<td>4.{i:04d}</td>") for i in range(1300, 1400)]
        enough.set()
        scraper.join()
        told("line to landing page, scraped twice a second", centiles(seconds), "ingestion not blocked")


def delay(url: str, log: Path, i: int, wanted: str) -> float:
    """Seconds from the write of one step to its loss in the answer."""
    time.sleep(0.05)
    with log.open("a") as file:
        file.write(STEP.format(i=i))
    began = time.perf_counter()
    while time.perf_counter() - began < 30:
        with urllib.request.urlopen(url) as answer:
            if wanted in answer.read().decode():
                return time.perf_counter() - began
        time.sleep(0.002)
    raise AssertionError(f"never shown: {wanted}")


def centiles(seconds: list[float]) -> str:
    ordered = sorted(1e3 * s for s in seconds)
    return f"p50 {ordered[len(ordered) // 2]:.0f} ms, p99 {ordered[int(0.99 * len(ordered))]:.0f} ms"


def quiet() -> None:
    with serving(100) as (exporter, _):
        time.sleep(20)
        began, before = time.monotonic(), exporter.cpu_s()
        for _ in range(8):
            time.sleep(15)
            exporter.get()
        share = (exporter.cpu_s() - before) / (time.monotonic() - began)
        told("100 quiet runs, scraped every 15 s: CPU", f"{100 * share:.2f} % of a core", "at most 0.5 %")
        told("100 quiet runs: resident memory", f"{exporter.memory_kb() / 1e3:.0f} MB", "at most 80 MB")


def scrape() -> None:
    with serving(1000) as (exporter, _):
        memory = exporter.memory_kb()
        ours, series = timed(f"{exporter.url}/metrics")
        told("/metrics with 1,000 runs", f"{ours:.2f} s, {series:,} series")
        after = exporter.memory_kb()
        told("1,000 runs: resident memory", f"{memory / 1e3:.0f} MB, {after / 1e3:.0f} MB after scrapes")
        began, before = time.monotonic(), exporter.cpu_s()
        time.sleep(30)
        share = (exporter.cpu_s() - before) / (time.monotonic() - began)
        told("1,000 quiet runs, not scraped: CPU", f"{100 * share:.2f} % of a core")
        sizes = [path.stat().st_size for path in exporter.state.iterdir()]
        told("state on disk, a run", f"{statistics.mean(sizes) / 1e3:.1f} kB")
        exporter.stop()
        began = time.monotonic()
        exporter.start(wait=False)
        until(lambda: exporter.status("/metrics") == 200)
        told("restart with 1,000 saved runs", f"{time.monotonic() - began:.1f} s, {exporter.cpu_s():.1f} s CPU")
    mtail = shutil.which("mtail") or shutil.which("mtail", path=ROOT / ".cache/servers/bin")
    if mtail is None:
        print("mtail is neither on PATH nor in .cache/servers/bin: no ratio")
        return
    try:
        theirs = beside(mtail, series)
    except http.client.IncompleteRead:
        told("mtail with as many series", "cuts its answer off: too slow here")
        return
    told("mtail with as many series", f"{theirs:.2f} s")
    told("ours over mtail's", f"{ours / theirs:.2f}", "at most 2")


def beside(mtail: str, series: int) -> float:
    """Seconds of a scrape of mtail with so many series of three labels."""
    with tempfile.TemporaryDirectory() as folder:
        log, program = Path(folder) / "series.log", Path(folder) / "series.mtail"
        program.write_text(MTAIL)
        log.touch()
        port = free_port()
        command = [mtail, "--progs", str(program), "--logs", str(log), "--address", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}/metrics"
            until(lambda: answers(url))
            with log.open("a") as file:
                file.writelines(f"run{i % 1000:04d} name{i // 1000} kind {i}.25\n" for i in range(series))
            until(lambda: timed(url, 1)[1] >= series, deadline_s=120, every_s=1)
            return timed(url)[0]
        finally:
            process.terminate()
            process.wait()


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url).close()
    except OSError:
        return False
    return True


def folder() -> None:
    def crowd(logs: Path) -> None:
        for i in range(100_000):
            (logs / f"sample-{i:06d}.txt").touch()

    with serving(10, crowd) as (exporter, logs):
        time.sleep(10)
        began, before = time.monotonic(), exporter.cpu_s()
        time.sleep(40)
        share = (exporter.cpu_s() - before) / (time.monotonic() - began)
        told("a folder of 100,000 files: CPU", f"{100 * share:.2f} % of a core")
        began, before = time.monotonic(), exporter.cpu_s()
        while time.monotonic() - began < 30:
            (logs / f"new-{time.monotonic_ns()}.txt").touch()
            time.sleep(0.1)
        share = (exporter.cpu_s() - before) / (time.monotonic() - began)
        told("the same, with ten new files a second: CPU", f"{100 * share:.2f} % of a core")
        told("a folder of 100,000 files: resident memory", f"{exporter.memory_kb() / 1e3:.0f} MB")


def told(what: str, figure: str, goal: str = "") -> None:
    print(f"{what:46}{figure:>28}   {goal}", flush=True)


PARTS = {"start": start, "latency": latency, "quiet": quiet, "scrape": scrape, "folder": folder}


if __name__ == "__main__":
    load = os.getloadavg()[1]
    print(f"{os.cpu_count()} cores, load {load:.1f} in the five minutes before (others that work here count as well)")
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
