"""How a learning rate will go on."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from training_monitor.estimate.schedule import Future, futures

TOTAL = 8000


def seen(schedule: Callable[[float], float], until: float) -> list[Future]:
    t = np.arange(0, until, 0.005)
    return futures(t * TOTAL, np.array([schedule(x) for x in t]), TOTAL)


def cosine(t: float) -> float:
    return 0.1 + 0.45 * (1 + math.cos(math.pi * t))


def warm_up_and_cosine(t: float) -> float:
    return t / 0.05 if t < 0.05 else 0.5 * (1 + math.cos(math.pi * (t - 0.05) / 0.95))


def warm_down(t: float) -> float:
    return min(1.0, (1 - t) / 0.4)


def warm_down_to_a_tenth(t: float) -> float:
    return min(1.0, 0.1 + 0.9 * (1 - t) / 0.5)


def linear(t: float) -> float:
    return 1 - t


def steps(t: float) -> float:
    return 1.0 if t < 0.5 else 0.316 if t < 0.8 else 0.1


@pytest.mark.parametrize("schedule", [cosine, warm_up_and_cosine, warm_down, warm_down_to_a_tenth, linear])
@pytest.mark.parametrize("until", [0.65, 0.75, 0.9])
def test_a_decay_under_way_is_continued(schedule: Callable[[float], float], until: float) -> None:
    (found,) = seen(schedule, until)
    ahead = np.linspace(until, 1, 1000)
    assert found.weight == 1.0
    assert found.end == pytest.approx(schedule(0.99), abs=0.005)  # over the last 2 % of the run
    assert found.area == pytest.approx(np.mean([schedule(t) for t in ahead]) * (1 - until) * TOTAL, abs=0.006 * TOTAL)


def test_a_decay_that_has_just_begun_ends_at_nothing() -> None:
    (found,) = seen(warm_down, 0.61)
    assert found.end == pytest.approx(warm_down(0.99), abs=0.01)


def test_a_constant_rate_may_stay_or_fall() -> None:
    found = seen(lambda _: 1.0, 0.25)
    assert sum(f.weight for f in found) == pytest.approx(1)
    assert max(f.end for f in found) == 1.0
    assert min(f.end for f in found) < 0.02
    assert max(f.area for f in found) == pytest.approx(0.75 * TOTAL, rel=0.01)


def test_the_longer_a_rate_stays_constant_the_likelier_it_is_to_remain_so() -> None:
    stays = [sum(f.weight for f in seen(lambda _: 1.0, until) if f.end == 1.0) for until in (0.25, 0.5, 0.75, 0.96)]
    assert stays == sorted(stays)
    assert stays[0] == pytest.approx(0.2)
    assert stays[-1] == 1.0


def test_a_rate_that_stepped_down_may_do_so_again() -> None:
    found = seen(steps, 0.7)
    assert [f.end for f in found] == pytest.approx([0.316, 0.1], abs=0.002)
