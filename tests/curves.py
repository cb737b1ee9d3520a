"""Seeded training curves, and the steps of the shipped nanochat logs."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from pathlib import Path

from training_monitor.detect.engine import Engine
from training_monitor.parse.registry import open_decoder
from training_monitor.records import Event, Severity, Step, steps_in

NANOCHAT = Path(__file__).parent / "data/nanochat"

#: What becomes of the loss of a step: its number and its loss in, its loss out.
Change = Callable[[int, float], float]


def curve(
    n: int,
    seed: int = 0,
    *,
    noise: float = 0.01,
    change: Change = lambda step, loss: loss,
    time: Change = lambda step, seconds: seconds,
    rate: Callable[[int], float] = lambda step: 3e-4,
    every: int = 1,
) -> list[Step]:
    """A healthy run: power law and white noise; step time 1 s and MFU 40 %, both with 1 % noise."""
    chance = random.Random(seed)
    steps = []
    for i in range(0, n * every, every):
        healthy = (2.0 + 8.0 * (i / every + 20) ** -0.35) * math.exp(chance.gauss(0, noise))
        seconds = time(i, 1.0 + chance.gauss(0, 0.01))
        steps.append(Step(i, change(i, healthy), learning_rate=rate(i), mfu_ratio=0.4 / seconds, step_time_s=seconds))
    return steps


def between(start: int, end: int, factor: float) -> Change:
    """Multiplies by `factor` from step `start` to before step `end`."""
    return lambda step, value: value * factor if start <= step < end else value


def nanochat(name: str) -> list[Step]:
    """The steps of a shipped log, the first process in it."""
    data = (NANOCHAT / f"{name}.log").read_bytes()
    decoder = open_decoder(data[:65536], name=name)
    return list(steps_in([*decoder.feed(data), *decoder.end()]))


def events(steps: Iterable[Step], engine: Engine | None = None) -> list[Event]:
    return (engine or Engine()).update(list(steps))


def raised(steps: Iterable[Step], least: Severity = Severity.WARNING) -> list[tuple[int | None, str, str]]:
    """Step, kind and severity of each event of at least this severity."""
    return [(e.step, e.kind, e.severity.label) for e in events(steps) if e.severity >= least]
