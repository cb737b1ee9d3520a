"""Speed beside mtail: the same file, in the same run, in turns, because shared machines drift.

    python tests/bench/throughput.py [--lines 1000000] [--rounds 3]

mtail extracts five fields of each line and does nothing else. We catch up with all detectors and estimates (`replay`),
or parse only. The ratios are mtail's time over ours, wall and CPU; above 1 is faster than mtail. Where other programs
run, the CPU ratio is the one to trust.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = r"""gauge step
gauge loss
gauge dt
gauge tokens
gauge mfu
/^step (?P<s>\d+)\/\d+ \(\S+\) \| loss: (?P<l>\S+) \| lrm: \S+ \| dt: (?P<d>\S+)ms \| tok\/sec: (?P<t>\d+)\S* \| bf16_mfu: (?P<m>\S+)/ {
  step = int($s)
  loss = float($l)
  dt = float($d)
  tokens = int($t)
  mfu = float($m)
}
"""  # noqa: E501  one pattern is one line there
PARSE = (
    "import sys; from training_monitor.parse.registry import open_decoder; f = open(sys.argv[1], 'rb'); "
    "d = open_decoder(b'step 00000/1'); n = 0\nwhile data := f.read(1 << 18): n += len(d.feed(data))\nprint(n)"
)


def write(path: Path, lines: int) -> None:
    """A healthy nanochat run: the loss falls and is averaged, with noise; steps take half a second."""
    chance, average = random.Random(1), 0.0
    with path.open("w") as file:
        for i in range(lines):
            average = 0.9 * average + 0.1 * (2.5 + 8 * math.exp(-i / 3000) + chance.gauss(0, 0.03))
            dt = 512 + chance.gauss(0, 3)
            file.write(
                f"step {i:05d}/{lines:05d} ({100 * i / lines:.2f}%) | loss: {average / (1 - 0.9 ** (i + 1)):.6f} | "
                f"lrm: 1.00 | dt: {dt:.2f}ms | tok/sec: {int(524288e3 / dt):,} | bf16_mfu: {25400 / dt:.2f} | "
                f"epoch: 1 pq: 1 rg: 0 | total time: {i * dt / 6e4:.2f}m | eta: 3.0m\n"
            )


def seconds(command: Sequence[str | Path]) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds and peak memory in MB of a whole process."""
    began = time.perf_counter()
    env = {name: v for name, v in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # as it is installed
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    _, _, used = os.wait4(process.pid, 0)
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss // 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    mtail = shutil.which("mtail") or shutil.which("mtail", path=ROOT / ".cache/servers/bin")
    with tempfile.TemporaryDirectory() as folder:
        log, program = Path(folder) / "train.log", Path(folder) / "nanochat.mtail"
        program.write_text(PROGRAM)
        write(log, args.lines)
        commands: dict[str, list[str | Path]] = {
            "catch-up, all detectors": [sys.executable, "-m", "training_monitor", "replay", log, "--output", "jsonl"],
            "parse only": [sys.executable, "-c", PARSE, log],
        }
        if mtail:
            commands["mtail, five fields"] = [mtail, "--progs", program, "--logs", log, "--one_shot"]
        else:
            print("mtail is neither on PATH nor in .cache/servers/bin: no ratios")
        taken = {name: [] for name in commands}  # type: ignore[var-annotated]
        for _ in range(args.rounds):
            for name, command in commands.items():
                taken[name].append(seconds(command))
    print(f"{args.lines:,} nanochat lines, median of {args.rounds} whole processes in turns, {os.cpu_count()} cores")
    peers = taken.get("mtail, five fields")
    print(f"{'':24}{'lines/s':>10}{'µs/line':>9}{'CPU µs':>8}{'MB':>6}{'ratio':>7}{'of CPU':>8}")
    for name, runs in taken.items():
        wall, cpu = (statistics.median(r[i] for r in runs) for i in (0, 1))
        pairs = list(zip(peers or [], runs, strict=True)) if peers else [((math.nan, math.nan, 0), runs[0])]
        ratio, of_cpu = (statistics.median(p[i] / r[i] for p, r in pairs) for i in (0, 1))
        per_line = 1e6 / args.lines
        memory = max(r[2] for r in runs)
        line = f"{name:24}{args.lines / wall:10,.0f}{wall * per_line:9.2f}{cpu * per_line:8.2f}{memory:6}"
        print(f"{line}{ratio:7.2f}{of_cpu:8.2f}")
    return 0


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main())
