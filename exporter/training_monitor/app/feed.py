"""One source on its way into a run: bytes from the tail, through the decoder, as records."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from training_monitor.parse.base import Decoder
from training_monitor.parse.registry import open_decoder
from training_monitor.records import Chunk, Event, Record, SourceStatus, Start, Step
from training_monitor.run import Run
from training_monitor.tail.file import FileTail

log = logging.getLogger(__name__)
CHUNK = 1 << 20


class Feed:
    """Reads one file into one run. Raises nothing: what goes wrong is in `status`."""

    def __init__(
        self, path: str, kind: str, run: Run, *, format: str | None = None, regex: tuple[str, ...] = ()
    ) -> None:
        self.path, self.kind, self.run = path, kind, run
        self.tail = FileTail(path)
        self.decoder: Decoder | None = None
        self._format, self._regex = format, regex
        self.on_steps: Callable[[list[Step]], None] | None = None

    def read(self) -> Chunk | None:
        """The next unread bytes. May block where the file system hangs; touches nothing but the file."""
        return self.tail.read(CHUNK)

    def take(self, chunk: Chunk) -> list[Event]:
        """Decodes a chunk into the run; gives the events it raised."""
        records: list[Record] = []
        if chunk.change == "replaced" and self.decoder is not None:
            records += self._replaced()
        if self.decoder is None:
            self.decoder = open_decoder(chunk.data, name=self.path, format=self._format, regex=self._regex)
        records += self.decoder.feed(chunk.data)
        if self.on_steps is not None:
            self.on_steps([r for r in records if isinstance(r, Step)])
        if chunk.at_end:
            self.run.heard(chunk.mtime, len(chunk.data))
        return self.run.feed(records, chunk.mtime if chunk.at_end else None, self.path)

    def end(self) -> list[Event]:
        """Decodes what is left of an unfinished last line; for a file that will not grow."""
        return self.run.feed(self.decoder.end(), self.tail.mtime, self.path) if self.decoder is not None else []

    def _replaced(self) -> list[Record]:
        """The file was written anew: a new process, or a format that rewrites its whole file."""
        assert self.decoder is not None
        records = self.decoder.end()
        if getattr(self.decoder, "rewrites", False):
            self.decoder.replaced()  # type: ignore[attr-defined]
            return records
        self.decoder = None
        return [*records, Start()]

    @property
    def status(self) -> SourceStatus:
        tail, counts = self.tail, self.decoder.counts if self.decoder is not None else None
        return SourceStatus(
            source=self.path,
            run=self.run.name,
            kind=self.kind,
            up=tail.exists and tail.problem is None,
            waiting=not tail.exists and tail.problem is None,
            problem=tail.problem,
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
        """Forgets everything read so far."""
        self.tail.close()
        self.tail, self.decoder = FileTail(self.path), None

    def state(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "kind": self.kind,
            "tail": self.tail.state(),
            "format": self.decoder.format if self.decoder else None,
            "decoder": self.decoder.state() if self.decoder else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError if `state` is not one of this version."""
        self.tail.restore(state["tail"])
        if state["decoder"] is not None:
            self.decoder = open_decoder(b"", name=self.path, format=self._format, regex=self._regex)
            self.decoder.restore(state["decoder"])
