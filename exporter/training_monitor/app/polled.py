"""A source that is asked again and again, a database or a service, on its way into a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from training_monitor.app.feed import Feed
from training_monitor.clock import Clock
from training_monitor.config import Config
from training_monitor.parse.rows import RowReader
from training_monitor.records import Event, Record, SourceStatus, steps_in
from training_monitor.run import Run
from training_monitor.tail.discovery import Candidate
from training_monitor.tail.records_source import RecordSource

#: Kinds of candidates that are polled.
POLLED = ("sqlite", "wandb-cloud")
CLOUD = "wandb:"  # begins the path of a run in the W&B cloud


class Polled(NamedTuple):
    """What one poll gave, and where the source stands after it. Stands in for a `Chunk`."""

    records: list[Record]
    place: dict[str, Any]
    at: float  # unix seconds
    at_end: bool
    change: None = None


class PolledFeed(Feed):
    """Polls one source into one run, no more often than the source wants."""

    def __init__(self, path: str, kind: str, run: Run, source: RecordSource, clock: Clock) -> None:
        super().__init__(path, kind, run)
        self.source, self._clock = source, clock
        self._fresh = source.state()
        self._place = self._fresh
        self._next_poll = 0.0  # unix seconds

    @property
    def is_due(self) -> bool:
        return self._clock.now() >= self._next_poll

    def read(self) -> Polled | None:  # type: ignore[override]
        now = self._clock.now()
        if now < self._next_poll:
            return None
        records = self.source.poll(now)
        self._next_poll = now + self.source.next_poll_s
        if not records and self.source.next_poll_s:
            return None
        return Polled(records, self.source.state(), now, at_end=self.source.next_poll_s > 0)

    def take(self, chunk: Polled) -> list[Event]:  # type: ignore[override]
        if chunk.records:
            self.run.heard(chunk.at, 0)
        self._place = chunk.place
        if self.on_steps is not None:
            self.on_steps(list(steps_in(chunk.records)))
        return self.run.feed(chunk.records, chunk.at if chunk.records else None, self.path)

    def end(self) -> list[Event]:
        return []

    def rest(self, *, is_crowded: bool) -> None:
        """Nothing is kept open."""

    def close(self) -> None:
        self.source.close()

    @property
    def problem(self) -> str | None:
        return self.broken or self.source.problem

    @property
    def status(self) -> SourceStatus:
        return self.source.status(self.run.name)

    def reset(self) -> None:
        self.generation += 1
        self.source.restore(self._fresh)
        self._place, self._next_poll = self._fresh, 0.0
        self.is_current = self.was_read = False

    def state(self) -> dict[str, Any]:
        return {"path": self.path, "kind": self.kind, "source": self._place}

    def restore(self, state: dict[str, Any]) -> None:
        self.source.restore(state["source"])
        self._place = state["source"]


def open_feed(candidate: Candidate, run: Run, config: Config, clock: Clock, env: Mapping[str, str]) -> Feed:
    """The feed of any kind of source. Raises UsageError for an address that is none."""
    path, kind = candidate.path, candidate.kind
    if kind == "sqlite":
        from training_monitor.tail.sqlite import SqliteSource

        return PolledFeed(path, kind, run, SqliteSource(path, RowReader), clock)
    if kind == "wandb-cloud":
        from training_monitor.tail.wandb_address import address
        from training_monitor.tail.wandb_cloud import WandbCloud

        run_address = address(path.removeprefix(CLOUD), env)
        cloud = WandbCloud(run_address, RowReader, env=env, poll_s=config.wandb_poll_s)
        return PolledFeed(path, kind, run, cloud, clock)
    return Feed(path, kind, run, format=config.format, regex=config.regex)


def cloud_candidates(config: Config, env: Mapping[str, str]) -> list[Candidate]:
    """The runs in the W&B cloud that are to be followed. Raises UsageError for an address that is none."""
    if not config.wandb_runs:
        return []
    from training_monitor.tail.wandb_address import address

    for text in config.wandb_runs:
        address(text, env)
    return [Candidate(f"{CLOUD}{text}", "wandb-cloud") for text in config.wandb_runs]
