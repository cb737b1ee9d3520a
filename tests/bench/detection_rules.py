"""Spike rules that others use, to stand beside ours. Each takes one loss after another and says whether it alarms."""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol


class Rule(Protocol):
    def __call__(self, loss: float) -> bool: ...


class Mean:
    """The threshold table taken literally: 1.5x the mean of the last 100, the latest among them."""

    def __init__(self) -> None:
        self.last: deque[float] = deque(maxlen=100)

    def __call__(self, loss: float) -> bool:
        self.last.append(loss)
        return len(self.last) >= 10 and loss > 1.5 * sum(self.last) / len(self.last)


class Foundry:
    """MosaicML llm-foundry, kill_loss_spike_callback.py: 2x the mean of a window, five times in a row."""

    def __init__(self) -> None:
        self.last: deque[float] = deque(maxlen=100)
        self.row = 0

    def __call__(self, loss: float) -> bool:
        full = len(self.last) == 100
        self.row = self.row + 1 if full and loss >= 2 * sum(self.last) / 100 else 0
        self.last.append(loss)
        return self.row >= 5


class Olmo:
    """AI2 OLMo-core, stability_monitor.py: above the mean by six standard deviations of the last 128."""

    def __init__(self) -> None:
        self.last: deque[float] = deque(maxlen=128)

    def __call__(self, loss: float) -> bool:
        self.last.append(loss)
        n = len(self.last)
        if n < 128:
            return False
        mean = sum(self.last) / n
        return loss > mean + 6 * math.sqrt(sum((x - mean) ** 2 for x in self.last) / n)


class Lightning:
    """Lightning Fabric, spike.py: twice the mean of the last ten above it."""

    def __init__(self) -> None:
        self.last: deque[float] = deque(maxlen=10)

    def __call__(self, loss: float) -> bool:
        mean = sum(self.last) / len(self.last) if self.last else loss
        self.last.append(loss)
        return len(self.last) > 1 and loss - mean >= 2 * mean


class ZScore:
    """W&B automations, z-score filter with its defaults: three standard deviations of the last 30."""

    def __init__(self) -> None:
        self.last: deque[float] = deque(maxlen=30)

    def __call__(self, loss: float) -> bool:
        n = len(self.last)
        mean = sum(self.last) / n if n else 0.0
        spread = math.sqrt(sum((x - mean) ** 2 for x in self.last) / n) if n else 0.0
        self.last.append(loss)
        return n == 30 and loss > mean + 3 * spread


RULES: dict[str, type[Rule]] = {
    "1.5x mean of 100": Mean,
    "llm-foundry": Foundry,
    "OLMo-core": Olmo,
    "Lightning": Lightning,
    "W&B z-score": ZScore,
}
