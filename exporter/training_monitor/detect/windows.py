"""Medians, and how rough a sequence of means is."""

from __future__ import annotations

import math


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
