"""What holds for every registered detector, whatever it is fed."""

from __future__ import annotations

import json
import math
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curves import between, curve
from training_monitor.detect.engine import DETECTORS, Engine
from training_monitor.records import KINDS, Event, Facts, Severity, Step

NAN, INF = math.nan, math.inf


def engine_with(name: str) -> Engine:
    """An engine with this one detector."""
    engine = Engine()
    engine.detectors = {name: engine.detectors[name]}
    return engine


def eventful() -> list[Step]:
    """A run on which every detector of steps has something to say."""
    chance = random.Random(5)
    steps = curve(2600, change=between(700, 712, 2.2), time=between(900, 960, 2.5))
    for i, step in enumerate(steps):
        changed = step._replace(grad_norm=chance.lognormvariate(0, 0.2) * (12 if i in {800, 801} else 1))
        if i in {1100, 1101}:
            changed = changed._replace(loss=NAN)
        if 1200 <= i < 1205:
            changed = changed._replace(loss=0.0)
        if 1300 <= i < 1700 and step.loss:
            changed = changed._replace(loss=step.loss * (1 + (i - 1300) / 2000))
        if i >= 2000 and step.loss:
            changed = changed._replace(loss=step.loss * math.exp(chance.gauss(0, 0.1)))
        steps[i] = changed
    return steps


EVENTFUL = eventful()


def memory(engine: Engine) -> str:
    """What an engine remembers, but for the rhythm of arrivals: that is about the split."""
    return json.dumps({name: part for name, part in engine.state().items() if name != "stall"})


def fed(engine: Engine, steps: list[Step], cuts: list[int]) -> list[Event]:
    found: list[Event] = []
    for a, b in pairwise([0, *sorted(cuts), len(steps)]):
        found += engine.update(steps[a:b])
    return found


@pytest.mark.parametrize("name", DETECTORS)
@given(cuts=st.lists(st.integers(0, len(EVENTFUL)), max_size=40))
@settings(max_examples=15, deadline=None)
def test_the_events_do_not_depend_on_the_split(name: str, cuts: list[int]) -> None:
    whole, parts = engine_with(name), engine_with(name)
    assert repr(fed(parts, EVENTFUL, cuts)) == repr(whole.update(EVENTFUL))
    assert memory(parts) == memory(whole)


@pytest.mark.parametrize("name", DETECTORS)
def test_single_steps_give_what_one_batch_gives(name: str) -> None:
    whole, parts = engine_with(name), engine_with(name)
    assert repr(fed(parts, EVENTFUL, list(range(len(EVENTFUL))))) == repr(whole.update(EVENTFUL))


def test_every_detector_has_something_to_say_about_the_eventful_run() -> None:
    silent = [name for name in DETECTORS if not engine_with(name).update(EVENTFUL)]
    assert silent == ["plateau"]  # has its own tests: nothing here is flat for long enough


@given(cut=st.integers(0, len(EVENTFUL)))
@settings(max_examples=25, deadline=None)
def test_a_restart_from_saved_state_changes_nothing(cut: int) -> None:
    whole, before, after = Engine(), Engine(), Engine()
    expected = whole.update(EVENTFUL)
    found = before.update(EVENTFUL[:cut])
    after.restore(json.loads(json.dumps(before.state())))
    found += after.update(EVENTFUL[cut:])
    assert repr(found) == repr(expected)
    assert memory(after) == memory(whole)
    assert after.active() == whole.active()


STREAMS = {
    "empty": [],
    "two points": [Step(0, 3.0), Step(1, 2.9)],
    "nothing but step numbers": [Step(i) for i in range(300)],
    "NaN for ever": [Step(i, NAN, grad_norm=NAN, mfu_ratio=NAN, step_time_s=NAN) for i in range(2000)],
    "infinite for ever": [Step(i, INF, grad_norm=INF, mfu_ratio=INF, step_time_s=INF) for i in range(2000)],
    "constant": [Step(i, 3.0, grad_norm=1.0, mfu_ratio=0.4, step_time_s=1.0) for i in range(2000)],
    "a billion": [Step(i, 1e9 if i > 500 else 3.0, grad_norm=1e9, step_time_s=1e9) for i in range(2000)],
    "one value of a billion": [Step(i, 1e9 if i == 500 else 3.0 - i * 1e-4) for i in range(2000)],
    "negative": [Step(i, -3.0, grad_norm=-1.0, mfu_ratio=-1.0, step_time_s=-1.0) for i in range(500)],
    "zero": [Step(i, 0.0, grad_norm=0.0, mfu_ratio=0.0, step_time_s=0.0, tokens_per_second=0.0) for i in range(500)],
    "around zero": [Step(i, math.sin(i), grad_norm=math.cos(i)) for i in range(2000)],
    "tiny": [Step(i, 1e-300, grad_norm=1e-300, mfu_ratio=1e-300, step_time_s=1e-300) for i in range(500)],
    "every other NaN": [Step(i, NAN if i % 2 else 3.0) for i in range(2000)],
    "gaps": [Step(i * i * i, 3.0 - i * 1e-3, step_time_s=1.0) for i in range(500)],
    "repeats": [Step(i // 3, 3.0, step_time_s=1.0) for i in range(900)],
    "backwards": [Step(1000 - i, 3.0, step_time_s=1.0) for i in range(900)],
}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("name", DETECTORS)
def test_strange_input_raises_no_exception_and_no_storm(name: str, stream: str) -> None:
    engine = engine_with(name)
    found = engine.update(STREAMS[stream])
    assert len(found) <= 4
    for event in found:
        assert event.kind in KINDS
    engine.levels()
    engine.resumed(0)
    engine.finished()
    assert engine.active() == {}
    json.dumps(engine.state())


number = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.floats(0.5, 4.0))
garbage = st.lists(
    st.builds(
        Step, st.integers(0, 10**7), number, number, number, number, number, number, number, number, tflops=number
    ),
    max_size=120,
)


@given(steps=garbage, facts=st.sampled_from([Facts(), Facts(gpu="A", world_size=8), Facts(gpu="B", world_size=4)]))
@settings(max_examples=60, deadline=None)
def test_no_input_raises(steps: list[Step], facts: Facts) -> None:
    engine = Engine()
    for i in range(0, len(steps), 7):
        engine.learn(facts)
        engine.update(steps[i : i + 7])
        engine.resumed(None)
    engine.update(steps)
    assert all(isinstance(v, Severity) for v in engine.active().values())
    engine.levels()
    Engine().restore(json.loads(json.dumps(engine.state())))


def test_state_stays_small_however_long_the_run() -> None:
    engine = Engine()
    steps = curve(30_000)
    sizes = []
    for i in range(0, len(steps), 10_000):
        engine.update([s._replace(grad_norm=1.0 + s.step % 7 / 10) for s in steps[i : i + 10_000]])
        sizes.append(len(json.dumps(engine.state())))
    assert max(sizes) < 26_000
    assert sizes[-1] < sizes[0] * 1.2


@pytest.mark.parametrize("seed", range(12))
def test_a_healthy_run_stays_silent(seed: int) -> None:
    noise = (0.003, 0.01, 0.03)[seed % 3]
    assert [e for e in Engine().update(curve(4000, seed, noise=noise)) if e.severity > Severity.NOTICE] == []


def test_finishing_closes_what_is_open() -> None:
    engine = Engine()
    engine.update(curve(600, time=between(500, 600, 3.0)))
    assert set(engine.active()) == {"mfu_drop", "slowdown"}
    engine.finished()
    assert engine.active() == {}
