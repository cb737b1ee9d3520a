"""Seconds from a line in a log to the page, with real servers and the intervals as shipped.

    python tests/bench/page_latency.py [TRIALS]

Each trial is a run of its own in which one step has three times the usual loss; it begins at another moment of the
scrape interval. Goal: at most 15 s for critical.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from live import Recorder, iterations, native

GOAL_S = 15.0
SCRAPES_S = 12.0  # so that a run is known before it goes wrong


def main(trials: int) -> int:
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder) / "runs"
        logs.mkdir()
        for i in range(trials):
            (logs / f"run{i}.log").write_bytes(b"".join(iterations(0, 200)))
        config = native.ROOT / "stack/exporter.yml"
        stack = native.Stack(Path(folder), native.Ports.free(), [str(logs)], config=config, on_page=recorder.take)
        try:
            stack.start()
            time.sleep(SCRAPES_S)
            seconds = [latency(recorder, logs / f"run{i}.log", i) for i in range(trials)]
        finally:
            stack.stop()
    print(f"line to page, critical: median {statistics.median(seconds):.1f} s, longest {max(seconds):.1f} s", end="")
    print(f" of {trials} trials (goal: at most {GOAL_S:.0f} s)")
    return 0 if max(seconds) <= GOAL_S else 1


def latency(recorder: Recorder, log: Path, trial: int) -> float:
    """Seconds from the write of one bad step to its page."""
    time.sleep(trial * 1.3 % 5)
    with log.open("ab") as file:
        file.write(b"".join(iterations(200, 203, {202: "9.0000"})))
    written = time.monotonic()
    return recorder.wait("TrainingLossSpike", run=log.stem, severity="critical", within=60).at - written


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8))
