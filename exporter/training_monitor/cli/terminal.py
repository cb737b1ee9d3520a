"""How the commands behave at a terminal: progress on stderr, and no traceback when the reader of a pipe goes away."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class ProgressLine:
    """One line on stderr that says how far a long log has been read; nothing where stderr is no terminal."""

    def __init__(self, what: str, *, after_s: float = 0.5, every_s: float = 0.1) -> None:
        self._what, self._every_s = what, every_s
        self._next = time.monotonic() + after_s
        self._shown = False
        self._on = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if not self._on or now < self._next:
            return
        self._next, self._shown = now + self._every_s, True
        share = done / total if total else 1.0
        bar = "█" * round(20 * share)
        print(
            f"\r{self._what} ▕{bar:<20}▏{share:4.0%} of {total / 1e6:,.0f} MB\x1b[K",
            end="",
            file=sys.stderr,
            flush=True,
        )

    def clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@contextmanager
def quiet_pipe() -> Iterator[None]:
    """`training-monitor … | head` ends without a traceback."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
