from __future__ import annotations

import pytest

from decoding import assert_split_makes_no_difference, decode
from training_monitor.parse import user_regex
from training_monitor.parse.registry import open_decoder
from training_monitor.records import Record, Step, Validation

PATTERN = r"it (?P<step>\d+) of (?P<total_steps>\d+) L=(?P<loss>\S+) (?P<step_time_ms>[\d.]+)ms"


def read(pattern: str, text: str) -> list[Record]:
    return assert_split_makes_no_difference(lambda: open_decoder(b"", regex=[pattern]), text.encode(), tries=2)


def test_named_groups_are_names_of_the_alias_table() -> None:
    records = read(PATTERN, "ep 3 it 1200 of 5000 L=3.245 250.0ms\n")
    assert [r for r in records if type(r) is Step] == [Step(1200, 3.245, step_time_s=0.25, total_steps=5000, line=1)]


def test_it_comes_before_every_other_format_and_leaves_them_the_other_lines() -> None:
    text = "it 1 of 5 L=3.5 250ms\nstep 2/5 | loss: 3.4\nit 3 of 5 L=nan 250ms\n"
    assert [r.step for r in read(PATTERN, text) if type(r) is Step] == [1, 3]


def test_a_pattern_may_be_for_validations() -> None:
    records = read(r"after (?P<step>\d+): val (?P<val_loss>[\d.]+)", "after 10: val 2.5\n")
    assert [r for r in records if type(r) is Validation] == [Validation("loss", 2.5, 10, None, 1)]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"it (?P<step>\d+", "missing"),
        (r"it (?P<step>\d+) L=(?P<los>\S+)", "no known name: los"),
        (r"it (?P<step>\d+)", r"needs \(\?P<step>…\) and one more named group"),
        (r"L=(?P<loss>\S+)", r"needs \(\?P<step>…\)"),
        ("", r"needs \(\?P<step>…\)"),
    ],
)
def test_a_wrong_pattern_is_refused_at_the_start(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_decoder(b"", regex=[pattern])


def test_a_pathological_pattern_is_stopped_counted_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_regex, "TIMEOUT_S", 0.001)
    monkeypatch.setattr(user_regex, "TIMEOUTS", 3)
    decoder = open_decoder(b"", regex=[r"(?P<step>\d+)(?:(a|a|ab)+b?)+(?P<loss>x)"])
    hostile = b"1" + b"ab" * 1500 + b"\n"
    records = decode(decoder, hostile * 6 + b"step 1 | loss: 2.5\n")
    assert decoder.counts.errors == {"regex_timeout": 3}
    assert [r.step for r in records if type(r) is Step] == [1]
