"""Whether somebody still writes a `.wandb` file. Linux, same user.

A killed run writes no exit record; its file just ends, and before wandb 0.31 that looks like waiting for 32 KiB.
The writer process (wandb-core) keeps the file open and goes when the training goes, so that its going is the news.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from training_monitor.records import Failure
from training_monitor.tail.wandb_runs import being_written

LOOK_S = 15.0  # between two looks at all processes, some milliseconds each
KIND = "writer_gone"


class WandbWriters:
    """Watches the writers of any number of files. A writer that was never seen is never missed."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._seen: dict[str, int] = {}  # path → looks since its writer was there
        self._looked_at: float | None = None

    def poll(self, paths: Iterable[str], now: float) -> dict[str, Failure]:
        """For each of `paths` (absolute) whose writer has gone since the last looks: the news, once.

        It comes two looks after the writer was seen last, so that what it wrote last, an exit record above all, has
        been read. Whoever gets it drops it if the run has told its end.
        """
        if self._looked_at is not None and 0 <= now - self._looked_at < LOOK_S:
            return {}
        self._looked_at = now
        open_files = set(being_written(self._proc))
        gone: dict[str, Failure] = {}
        for path in paths:
            if os.path.realpath(path) in open_files:
                self._seen[path] = 0
            elif path in self._seen:
                self._seen[path] += 1
                if self._seen[path] == 2:
                    del self._seen[path]
                    words = f"the process that wrote {os.path.basename(path)} is gone and left no exit record"
                    gone[path] = Failure(KIND, words, time=now)
        return gone
