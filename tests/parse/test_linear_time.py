"""No line of a log can make a pattern take longer than linear time, told by the shape of the patterns.

How long the worst lines take is measured by `make bench-patterns`.
"""

from __future__ import annotations

import re

import pytest

from regex_attacks import Used, attacks, used_patterns
from regex_shape import slow_pairs
from training_monitor.parse.registry import FORMATS

PATTERNS = used_patterns()


def test_every_format_and_every_marker_is_looked_at() -> None:
    modules = {used.where for used in PATTERNS}
    assert {"markers", "prefix", "key_value", "hf_trainer", "lines", "text", "wandb"} <= modules
    texts = {used.pattern.pattern for used in PATTERNS}
    assert {text for fmt in FORMATS.values() for text in fmt.patterns()} <= texts


@pytest.mark.parametrize("used", PATTERNS, ids=lambda u: f"{u.where}-{u.pattern.pattern[:40]!r}")
def test_no_two_repeats_can_share_their_text(used: Used) -> None:
    assert slow_pairs(used.pattern, is_searched=used.is_searched) == []


@pytest.mark.parametrize(
    "pattern",
    [
        rb"iteration *[ =] *(\d+)/",
        rb"(?:a+)+b",
        rb"(\w+),?\w+:",
        rb"x(?:a|b)*(?:b|c)*d",
        rb".*: .*$",
        rb"[ab]+a?[ab]{1,9000}c",
        rb"(?:\d+ ?)+$",
    ],
)
def test_a_pattern_that_is_slow_is_told(pattern: bytes) -> None:
    assert slow_pairs(re.compile(pattern), is_searched=False)


@pytest.mark.parametrize("pattern", [rb"\d+x", rb"(?:took )?[\d.]+ ms", rb"a+b"])
def test_a_search_for_what_begins_with_a_repeat_is_slow(pattern: bytes) -> None:
    assert slow_pairs(re.compile(pattern), is_searched=True)
    assert not slow_pairs(re.compile(pattern), is_searched=False)


@pytest.mark.parametrize("pattern", [rb"(\S+) (\S+) x", rb"(?:[^|]+\|)*x", rb" *= *\d+/ *\d", rb"a*b*c", rb"\w+"])
def test_a_pattern_that_is_linear_is_told(pattern: bytes) -> None:
    assert not slow_pairs(re.compile(pattern), is_searched=False)


def test_the_lines_that_attack_a_pattern_are_almost_matched_by_it() -> None:
    pattern = re.compile(rb"iter (\d{1,9}): loss ([^\s,]+), time ([^\s,]+)ms")
    lines = list(attacks(pattern, 1000))
    assert all(900 <= len(line) <= 1000 for line in lines)
    assert any(line.startswith(b"iter 1: loss 1") for line in lines)
