"""Coverage-guided fuzzing of everything that reads bytes it did not write: one row a target.

    python tests/fuzz/fuzz.py [--seconds 20] [TARGET …]

Needs atheris (`pip install '.[fuzz]'`). Inputs begin with the samples of `targets.py`; what covers new code is kept in
.cache/fuzz/<target>. libFuzzer itself watches over hangs (5 s) and memory (2 GB). A finding is printed and kept as
.cache/fuzz/<target>.found/…: mended, it goes to tests/fuzz/found/<target>/ and is a test from then on.
"""

from __future__ import annotations

import argparse
import logging
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORK = ROOT / ".cache/fuzz"
HANG_S, MEMORY_MB, LONGEST = 5, 2048, 8192
_STATS = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+)")


def fuzz(name: str, seconds: int) -> None:
    """Runs one target in this process until its time is over; libFuzzer ends the process."""
    import atheris

    sys.path.insert(0, str(ROOT / "tests"))
    with atheris.instrument_imports(include=["training_monitor"]):
        from fuzz.targets import TARGETS
    logging.disable(logging.CRITICAL)
    corpus, found = WORK / name, WORK / f"{name}.found"
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(TARGETS[name].seeds()):
        (corpus / f"seed{i:02d}").write_bytes(seed[:LONGEST])
    limits = [f"-max_total_time={seconds}", f"-timeout={HANG_S}", f"-rss_limit_mb={MEMORY_MB}", f"-max_len={LONGEST}"]
    atheris.Setup(
        [sys.argv[0], *limits, "-seed=1", "-print_final_stats=1", f"-artifact_prefix={found}/", str(corpus)],
        TARGETS[name].check,
    )
    atheris.Fuzz()


def row(name: str, seconds: int) -> tuple[str, bool]:
    """Fuzzes one target in a process of its own; its row of the table, and whether something was found."""
    began = time.monotonic()
    command = [sys.executable, __file__, "--child", name, "--seconds", str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    said = done.stdout.decode("utf-8", "replace")
    stats = _STATS.findall(said)
    executions, covered, features = (int(n) for n in stats[-1]) if stats else (0, 0, 0)
    is_clean = done.returncode == 0
    took = time.monotonic() - began
    line = f"{name:16}{executions:12,}{covered:10,}{features:10,}{took:8.0f} s  {'none' if is_clean else 'FOUND'}"
    if not is_clean:
        line += "\n" + "\n".join(f"    {text}" for text in said.splitlines() if _is_telling(text))
    return line, is_clean


def _is_telling(text: str) -> bool:
    return text.startswith(("===", "Trace", "  File", "Test unit", "ALARM", "SUMMARY")) or "Error" in text


def main() -> int:
    sys.path.insert(0, str(ROOT / "tests"))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=int, default=20, help="for each target")
    parser.add_argument("--child", metavar="TARGET", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    args = parser.parse_args()
    if args.child:
        fuzz(args.child, args.seconds)
    from fuzz.targets import TARGETS

    print(f"{'target':16}{'executions':>12}{'edges':>10}{'features':>10}{'took':>10}  findings", flush=True)
    are_clean = []
    for name in args.targets or TARGETS:
        line, is_clean = row(name, args.seconds)
        print(line, flush=True)
        are_clean.append(is_clean)
    return 0 if all(are_clean) else 1


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, in which `fuzz` is this file and not the package
    sys.exit(main())
