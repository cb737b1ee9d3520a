"""Writes a log as if its run were alive: its header at once, then so many lines a second.

python stack/feed.py SOURCE TARGET [--rate 20] [--start TEXT]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path


def feed(source: Path, target: Path, rate: float, start: str, sleep: Callable[[float], None] = time.sleep) -> int:
    """Writes the lines of `source` to `target`; gives their number. Those before the first `start` come at once."""
    lines = source.read_bytes().splitlines(keepends=True)
    header = next((i for i, line in enumerate(lines) if line.startswith(start.encode())), 0)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb", buffering=0) as file:
        file.write(b"".join(lines[:header]))
        for line in lines[header:]:
            sleep(1 / rate)
            file.write(line)
    return len(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Writes a log as if its run were alive.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--rate", type=float, default=20.0, help="lines a second (default: %(default)s)")
    parser.add_argument("--start", default="step ", help="how the first line of the training begins")
    args = parser.parse_args(argv)
    try:
        n = feed(args.source, args.target, args.rate, args.start)
    except OSError as e:
        print(f"{e.filename}: {e.strerror}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 0
    print(f"{args.target}: all {n} lines written", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
