"""Windows of recent values."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from typing import Any

from training_monitor.state import Stateful


def median(values: list[float]) -> float:
    """The middle of a non-empty sorted list."""
    half, odd = divmod(len(values), 2)
    return values[half] if odd else 0.5 * (values[half - 1] + values[half])


def roughness(means: list[float], sigma: float, spans: tuple[int, ...]) -> float:
    """How much noisier means of blocks are than white noise would make them; at least 1.

    `sigma`: noise of a mean, were it white. From second differences, which no trend moves, between means of `spans`
    neighbours, less their own uncertainty. Data that come in shards, or repeat, make a loss that wanders slowly.
    """
    worst = 1.0
    for span in spans:
        b = [sum(means[i : i + span]) / span for i in range(len(means) % span, len(means) - span + 1, span)]
        bends = sorted(abs(v - (u + w) / 2) for u, v, w in zip(b, b[1:], b[2:], strict=False))
        if len(bends) >= 5:
            noise = 1.4826 * median(bends) / math.sqrt(1.5)
            worst = max(worst, noise / (1 + 1 / math.sqrt(len(bends))) / (sigma / math.sqrt(span)))
    return worst


class SortedWindow(Stateful):
    """The last `size` finite values, also in order. A push costs two bisections and two moves in a short list."""

    __slots__ = ("ordered", "size", "values")
    constants = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size
        self.values: deque[float] = deque()
        self.ordered: list[float] = []

    def push(self, x: float) -> None:
        self.values.append(x)
        insort(self.ordered, x)
        if len(self.values) > self.size:
            del self.ordered[bisect_left(self.ordered, self.values.popleft())]

    def median(self) -> float:
        return median(self.ordered)

    def is_full(self) -> bool:
        return len(self.values) == self.size

    def clear(self) -> None:
        self.values.clear()
        self.ordered.clear()

    def state(self) -> dict[str, Any]:
        return {"values": list(self.values)}

    def restore(self, state: dict[str, Any]) -> None:
        self.values = deque(state["values"])
        self.ordered = sorted(self.values)
