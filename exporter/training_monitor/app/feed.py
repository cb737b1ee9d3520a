"""One source on its way into a run: bytes from the tail, through the decoder, as records."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from training_monitor.parse.base import Decoder
from training_monitor.parse.files import FILES
from training_monitor.parse.registry import open_decoder
from training_monitor.records import Chunk, Event, Record, SourceStatus, Start, Step, steps_in
from training_monitor.run import Run
from training_monitor.tail.file import FileTail

CHUNK = 1 << 18  # bytes: 10 ms of decoding and detecting, for which a scrape may have to wait
SILENT_S = 10.0  # a file system that does not answer for so long is a problem that is told
HEAD = 512  # bytes after which the first line need not be whole for the format to be told
IDLE_S = 60.0  # after so many seconds without news a file may be closed


class Feed:
    """Reads one file into one run. Raises nothing: what goes wrong is in `status`.

    `read` touches the file only and may hang, in any one thread at a time; everything else belongs to the lock of the
    run.
    """

    def __init__(
        self, path: str, kind: str, run: Run, *, format: str | None = None, regex: tuple[str, ...] = ()
    ) -> None:
        self.path, self.kind, self.run = path, kind, run
        self.tail = FileTail(path)
        self.decoder: Decoder | None = None
        self._format, self._regex = format, regex
        self.on_steps: Callable[[list[Step]], None] | None = None
        self.is_current = False  # everything known to be there has been read
        self.was_read = False  # that was so at least once
        self.broken: str | None = None  # our own error, after which nothing more is read
        self.generation = 0  # what was read in an earlier one is not taken any more
        self._place = self.tail.state()  # up to where the run knows the file
        self._head = b""  # begin of a file too short to tell its format; not in the run yet
        self._reading_since: float | None = None  # monotonic seconds
        self._heard_at = time.monotonic()
        self._is_closed = False

    def read(self) -> Chunk | None:
        """The next unread bytes. May block where the file system hangs; touches nothing but the file."""
        self._reading_since = time.monotonic()
        tail = self.tail
        try:
            chunk = tail.read(CHUNK)
            if self._is_closed or tail is not self.tail:  # meanwhile, while it hung
                tail.close()
            return chunk
        finally:
            self._reading_since = None

    def rest(self, *, is_crowded: bool) -> None:
        """Closes a file that has been idle if it is gone, so that its space is freed, or if too many are open."""
        if (is_crowded or not self.tail.exists) and time.monotonic() - self._heard_at > IDLE_S:
            self.tail.close()

    def close(self) -> None:
        """Lets go of the file, at once or when a read under way comes back."""
        self._is_closed = True
        if self._reading_since is None:
            self.tail.close()

    def take(self, chunk: Chunk) -> list[Event]:
        """Decodes a chunk into the run; gives the events it raised."""
        records: list[Record] = []
        if chunk.change == "replaced":
            records += self._replaced()
        data, self._head = self._head + chunk.data, b""
        if self.decoder is None:
            if len(data) < HEAD and not re.search(rb"[\r\n]", data):
                self._head = data
                return []
            self.decoder = self._open(data)
        records += self.decoder.feed(data)
        if self.on_steps is not None:
            self.on_steps(list(steps_in(records)))
        if chunk.at_end:
            self.run.heard(chunk.mtime, len(chunk.data))
        events = self.run.feed(records, chunk.mtime if chunk.at_end else None, self.path)
        self._place = self.tail.state()
        self._heard_at = time.monotonic()
        return events

    def end(self) -> list[Event]:
        """Decodes what is left of an unfinished last line; for a file that will not grow."""
        if self.decoder is None:
            self.decoder = self._open(self._head)
        records = [*self.decoder.feed(self._head), *self.decoder.end()]
        self._head = b""
        return self.run.feed(records, self.tail.mtime, self.path)

    def _open(self, head: bytes, format: str | None = None) -> Decoder:
        return open_decoder(head, name=self.path, format=format or self._format, regex=self._regex)

    def _replaced(self) -> list[Record]:
        """The file was written anew: a new process, or a format that rewrites its whole file."""
        self._head = b""
        if self.decoder is None:
            return []
        records = self.decoder.end()
        if getattr(self.decoder, "rewrites", False):
            self.decoder.replaced()  # type: ignore[attr-defined]
            return records
        self.decoder = None
        return [*records, Start()]

    @property
    def problem(self) -> str | None:
        """Why the file cannot be read at present."""
        since = self._reading_since
        if since is not None and (silent := time.monotonic() - since) > SILENT_S:
            return f"{self.path!r}: its file system has not answered for {silent:.0f} s; the log is read when it does"
        return self.broken or self.tail.problem

    @property
    def status(self) -> SourceStatus:
        tail, counts = self.tail, self.decoder.counts if self.decoder is not None else None
        problem = self.problem
        return SourceStatus(
            source=self.path,
            run=self.run.name,
            kind=self.kind,
            up=tail.exists and problem is None,
            waiting=not tail.exists and problem is None,
            problem=problem,
            size_bytes=tail.size_bytes,
            lag_bytes=tail.lag_bytes,
            last_change=self.run.last_change,
            lines_read=counts.lines if counts else 0,
            lines_parsed=counts.parsed if counts else 0,
            parse_errors=dict(counts.errors) if counts else {},
            rotations=tail.rotations,
            replacements=tail.replacements,
            lost_bytes=tail.lost_bytes,
        )

    def reset(self) -> None:
        """Forgets everything read so far, also what a read under way will bring."""
        self.generation += 1
        before = self.tail
        self.tail, self.decoder, self._head = FileTail(self.path), None, b""
        if self._reading_since is None:
            before.close()
        self._place = self.tail.state()
        self.is_current = self.was_read = False

    def state(self) -> dict[str, Any]:
        """Where the run stands in this source: the bytes after it are not in the run yet."""
        return {
            "path": self.path,
            "kind": self.kind,
            "tail": self._place,
            "format": self.decoder.format if self.decoder else None,
            "decoder": self.decoder.state() if self.decoder else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError if `state` is not one of this version."""
        self.tail.restore(state["tail"])
        self._place = self.tail.state()
        if state["decoder"] is not None:
            is_whole_file = state["format"] in FILES  # told by its content then, which is not at hand now
            self.decoder = self._open(b"\n", state["format"] if is_whole_file else None)
            self.decoder.restore(state["decoder"])
            counts = self.decoder.counts
            if not all(isinstance(n, int) for n in (counts.lines, counts.parsed, *counts.errors.values())):
                raise TypeError(f"counts are no numbers: {counts}")
