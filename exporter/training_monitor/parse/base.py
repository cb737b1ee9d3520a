"""What every decoder promises: bytes of one source in, records out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from training_monitor.records import Record


@dataclass(slots=True)
class Counts:
    """How much was read, and what could not be understood. `lines` are records where the source has no lines."""

    lines: int = 0
    parsed: int = 0  # lines that gave at least one record
    errors: dict[str, int] = field(default_factory=dict)  # by reason

    def error(self, reason: str, n: int = 1) -> None:
        self.errors[reason] = self.errors.get(reason, 0) + n


class Decoder(Protocol):
    """Turns the bytes of one source, in order and in any split, into records.

    The records depend on the bytes only, never on how they were split. No input raises. State is bounded.
    """

    counts: Counts

    @property
    def format(self) -> str | None:
        """Name in the registry, once known."""
        ...

    def feed(self, data: bytes) -> list[Record]:
        """The records that `data` completes."""
        ...

    def end(self) -> list[Record]:
        """The records that the unfinished rest gives, when no more bytes will come or the file was replaced."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything needed to go on later, as values that JSON can carry."""
        ...

    def restore(self, state: dict[str, Any]) -> None: ...
