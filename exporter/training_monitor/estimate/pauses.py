"""Evaluations, samples and checkpoints: when they come, what they cost, how many are still to come."""

from __future__ import annotations

import math
from collections.abc import Sequence

from training_monitor.state import Stateful

KINDS = ("evaluation", "checkpoint", "sampling")
COUNT, FIRST, LAST, TIMED, SECONDS = range(5)


class Pauses(Stateful):
    """Learns the rhythm and the mean cost of each kind of pause. State: five numbers for each kind."""

    __slots__ = ("kinds",)

    def __init__(self) -> None:
        #: [pauses, step of the first, step of the latest, pauses with a known cost, their seconds] of each kind
        self.kinds: dict[str, list[float]] = {kind: [0, 0, 0, 0, 0.0] for kind in KINDS}

    def saw(self, kind: str, step: int) -> bool:
        """Notes a pause before, at or after `step`; False if it is known or of no kind that returns."""
        row = self.kinds.get(kind)
        if row is None or (row[COUNT] and step <= row[LAST]):
            return False
        if not row[COUNT]:
            row[FIRST] = step
        row[COUNT] += 1
        row[LAST] = step
        return True

    def took(self, kind: str, seconds: float) -> None:
        """Notes what one pause of `kind` cost."""
        row = self.kinds[kind]
        row[TIMED] += 1
        row[SECONDS] += seconds

    def shares(self, kinds: Sequence[str], seconds: float) -> dict[str, float]:
        """`seconds` divided among pauses that came together: known costs first, the rest evenly among the others."""
        means = {kind: self.mean_s(kind) for kind in kinds}
        new = [kind for kind, mean in means.items() if mean is None]
        known = {kind: mean for kind, mean in means.items() if mean is not None}
        total = math.fsum(known.values())
        if new:
            rest = max(0.0, seconds - total)
            scale = min(1.0, seconds / total) if total > 0 else 0.0
            return {**{k: m * scale for k, m in known.items()}, **dict.fromkeys(new, rest / len(new))}
        if total <= 0:
            return dict.fromkeys(kinds, seconds / len(kinds))
        return {k: seconds * m / total for k, m in known.items()}

    def mean_s(self, kind: str) -> float | None:
        """Mean seconds of one pause, where known."""
        row = self.kinds[kind]
        return max(0.0, row[SECONDS] / row[TIMED]) if row[TIMED] else None

    def remaining_s(self, total: int) -> float:
        """Seconds of the pauses to come until step `total`, the one at its end included, as far as costs are known."""
        return math.fsum((self.mean_s(kind) or 0.0) * self._to_come(row, total) for kind, row in self.kinds.items())

    @staticmethod
    def _to_come(row: list[float], total: int) -> int:
        if not row[COUNT] or row[LAST] >= total:
            return 0
        period = (row[LAST] - row[FIRST]) / (row[COUNT] - 1) if row[COUNT] > 1 else row[LAST]
        return math.ceil((total - row[LAST]) / period - 1e-9) if period > 0 else 0
