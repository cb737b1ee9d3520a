"""The longest time that a hostile line can take, for each format.

    python tests/bench/patterns.py

pattern    the slowest pattern of the format on a line of 64 KiB, the longest that a decoder hands on
decoder    the same lines, and lines of 1 MB, through the decoder that was told the format: seconds for 1 MB of log
The lines are those of `tests/regex_attacks.py`: almost matched, with one part repeated. CPU time, the best of three.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from regex_attacks import Used, attacks, used_patterns
from training_monitor.parse.lines import MAX_LINE
from training_monitor.parse.registry import FORMATS, open_decoder

MEGABYTE = 1 << 20
#: Lines for every format, with no time of their own.
GENERAL = [
    (0.0, (text * MAX_LINE)[:MAX_LINE])
    for text in (b"1", b" ", b"[", b'{"a":', b"step 1 | loss: ", b"loss: 1 ", b"{'loss': 1, ", b"[rank0]: ", b"a.b.c: ")
]
KEPT = 6  # of the worst lines of each pattern, those that the decoder is given


def cpu_s(work: Callable[[], object]) -> float:
    """The best of three, but a long one is not tried again."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
        if best > 0.2:
            break
    return best


def applied(used: Used, line: bytes) -> Callable[[], object]:
    """As the parsers apply it."""
    if used.is_searched:
        return lambda: sum(1 for _ in used.pattern.finditer(line))
    return lambda: used.pattern.match(line)


def worst(used: Used) -> list[tuple[float, bytes]]:
    """The slowest lines of a pattern, each with its seconds."""
    once = []
    for line in attacks(used.pattern, MAX_LINE):
        began = time.process_time()
        applied(used, line)()
        once.append((time.process_time() - began, line))
    once.sort(reverse=True)
    return sorted(((cpu_s(applied(used, line)), line) for _, line in once[:KEPT]), reverse=True)


def decoder_s(name: str | None, line: bytes) -> float:
    """Seconds for a megabyte: of such lines, or of one such line without an end, whichever takes longer."""

    def read(text: bytes) -> Callable[[], object]:
        def work() -> None:
            decoder = open_decoder(b"", format=name)
            decoder.feed(text)
            decoder.end()

        return work

    short = (line + b"\n") * (MEGABYTE // len(line))
    long = (line * (MEGABYTE // len(line)))[:MEGABYTE] + b"\n"
    return max(cpu_s(read(short)), cpu_s(read(long)))


def main() -> None:
    slowest = {used: worst(used) for used in used_patterns()}
    print(f"{'':18}{'64 KiB line':>14}{'1 MB of log':>14}   slowest pattern")
    for name in FORMATS:
        texts = set(FORMATS[name].patterns())
        row(name, {u: w for u, w in slowest.items() if u.where == name.replace("-", "_") or u.pattern.pattern in texts})
    for where in ("prefix", "markers", "lines", "text"):
        row(where, {u: w for u, w in slowest.items() if u.where == where})
    hardest = sorted((w[0] for u, w in slowest.items() if u.where != "wandb"), reverse=True)[:40]  # it has no lines
    print(f"{'format found out':32}{max(decoder_s(None, line) for _, line in (*hardest, *GENERAL)):12.2f} s")


def row(name: str, own: dict[Used, list[tuple[float, bytes]]]) -> None:
    seconds, pattern = max(((w[0][0], u.pattern.pattern) for u, w in own.items()), default=(0.0, b"(has none)"))
    lines = [line for w in own.values() for _, line in w[:2]] + [line for _, line in GENERAL]
    decoded = max(decoder_s(name if name in FORMATS else None, line) for line in lines)
    print(f"{name:18}{1e3 * seconds:11.1f} ms{decoded:12.2f} s   {_shown(pattern)}", flush=True)


def _shown(pattern: bytes) -> str:
    return re.sub(r"\s+", " ", pattern.decode("latin-1"))[:70]


if __name__ == "__main__":
    main()
