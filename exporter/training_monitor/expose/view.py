"""What one scrape sees: runs, sources and the exporter itself at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from training_monitor.records import Snapshot, SourceStatus


@dataclass(frozen=True, slots=True)
class OwnStatus:
    """How the exporter itself does. Times are unix seconds."""

    state_saves: int = 0
    state_save_failures: int = 0
    config_reload_ok: bool = True  # the last (re)load of the configuration
    config_reload_time: float | None = None  # when the configuration in use was loaded
    #: Files left unread in watched folders, by reason: fifo, device, socket, symlink_loop, …
    skipped_files: Mapping[str, int] = field(default_factory=dict)
    states_unusable: int = 0  # saved states that could not be used


@dataclass(frozen=True, slots=True)
class View:
    """One consistent picture for one scrape.

    `thresholds`: by (kind, severity label), as configured. `ready`: the first catch-up is done.
    """

    snapshots: Sequence[Snapshot] = ()
    sources: Sequence[SourceStatus] = ()
    ready: bool = True
    thresholds: Mapping[tuple[str, str], float] = field(default_factory=dict)
    own: OwnStatus = field(default_factory=OwnStatus)
