"""What one metric family is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

T = TypeVar("T")
Number: TypeAlias = float | None
Series: TypeAlias = Iterable[tuple[tuple[str, ...], Number]]


@dataclass(frozen=True, slots=True)
class Metric(Generic[T]):
    """One metric family: its name, its HELP text and how to read it from a `T`.

    `read` gives the number of a metric without `labels`, and `(label values, number)` for each series of one with
    labels. None gives no sample. `labels` are those besides the scope's own; `unit` is for people.
    """

    name: str
    help: str
    read: Callable[[T], Number | Series]
    labels: tuple[str, ...] = ()
    unit: str = ""
    type: Literal["gauge", "counter", "info"] = "gauge"
