"""The short version of `make fuzz`: samples, what fuzzing has found before, and changed samples from a fixed seed.

A finding of the fuzzer becomes a test by being put into found/<target>/ under a name that says what was wrong.
"""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fuzz.mutation import mutated
from fuzz.targets import TARGETS

FOUND = sorted((Path(__file__).parent / "found").glob("*/*"))
in_short = partial(
    settings, max_examples=25, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
every_target = pytest.mark.parametrize("name", TARGETS)


@every_target
def test_every_sample_is_dealt_with(name: str) -> None:
    target = TARGETS[name]
    assert target.seeds()
    for seed in target.seeds():
        target.check(seed)


@pytest.mark.parametrize("path", FOUND, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_what_fuzzing_has_found_is_dealt_with(path: Path) -> None:
    TARGETS[path.parent.name].check(path.read_bytes())


@every_target
def test_changed_samples_are_dealt_with(name: str) -> None:
    target, seeds = TARGETS[name], TARGETS[name].seeds()

    @in_short(phases=[Phase.generate])  # a changed sample gets no simpler by another seed
    @given(st.sampled_from(seeds), st.integers(0, 2**32))
    def check(seed: bytes, chance: int) -> None:
        target.check(mutated(seed, random.Random(chance)))

    check()


@every_target
def test_any_bytes_are_dealt_with(name: str) -> None:
    @in_short(max_examples=15)
    @given(st.binary(max_size=300))
    def check(data: bytes) -> None:
        TARGETS[name].check(data)

    check()
