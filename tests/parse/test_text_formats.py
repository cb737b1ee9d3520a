"""What holds for every text format of the registry. A new format needs a fixture `data/formats/<name>.log`."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding import assert_split_makes_no_difference, decode, decode_with_restarts, one_by_one
from training_monitor.parse.base import Decoder
from training_monitor.parse.registry import FILES, FORMATS, open_decoder
from training_monitor.records import Facts, Record, Step

DATA = Path(__file__).parents[1] / "data" / "formats"
LOGS = {name: (DATA / f"{name}.log").read_bytes() for name in FORMATS}
REWRITE = os.environ.get("REWRITE_GOLDENS")

every_format = pytest.mark.parametrize("name", FORMATS)


def new() -> Decoder:
    return open_decoder(b"")


def steps(records: list[Record]) -> list[Step]:
    return [r for r in records if type(r) is Step]


def without_lines(records: list[Record]) -> list[str]:
    return [repr(s._replace(line=0)) for s in steps(records)]


def told(record: Record) -> str:
    """One line a person can read: what the record knows."""
    if isinstance(record, Step):
        known = {k: v for k, v in record._asdict().items() if v is not None and k != "line"}
    else:
        known = {k: getattr(record, k) for k in type(record).__dataclass_fields__ if k != "line"}
        known = {k: v for k, v in known.items() if v is not None}
    line = getattr(record, "line", None)
    values = " ".join(f"{k}={v:.10g}" if isinstance(v, float) else f"{k}={v}" for k, v in known.items())
    return f"{line or '-':>4} {type(record).__name__:<10} {values}"


@every_format
def test_its_fixture_gives_the_records_of_the_golden_file(name: str) -> None:
    found = "".join(told(r) + "\n" for r in decode(new(), LOGS[name]))
    golden = DATA / f"{name}.records"
    if REWRITE:
        golden.write_text(found)
    assert found == golden.read_text()


@every_format
def test_it_is_told_by_its_content(name: str) -> None:
    decoder = new()
    decode(decoder, LOGS[name])
    assert decoder.format == name


@every_format
def test_it_can_be_forced(name: str) -> None:
    decoder = open_decoder(b"", format=name)
    records = decode(decoder, LOGS[name])
    assert decoder.format == name
    assert steps(records)
    assert [r.format for r in records if isinstance(r, Facts) and r.format][:1] == [name]


@every_format
def test_no_split_of_the_bytes_changes_the_records(name: str) -> None:
    assert_split_makes_no_difference(new, LOGS[name])


@every_format
def test_byte_by_byte_it_gives_the_same_records(name: str) -> None:
    data = LOGS[name]
    decoder, pieces = new(), []
    for i in range(len(data)):
        pieces += one_by_one(decoder.feed(data[i : i + 1]))
    assert repr(pieces + decoder.end()) == repr(decode(new(), data))


@every_format
def test_saved_and_restored_at_every_line_it_gives_the_same_records(name: str) -> None:
    data = LOGS[name]
    cuts = [m.end() for m in re.finditer(rb"\n", data)]
    assert repr(decode_with_restarts(new, data, cuts)) == repr(decode(new(), data))


@every_format
def test_cut_off_anywhere_it_gives_the_first_steps_and_at_most_one_other(name: str) -> None:
    data = LOGS[name]
    whole = [s.step for s in steps(decode(new(), data))]
    for cut in range(0, len(data), 11):
        some = [s.step for s in steps(decode(new(), data[:cut]))]
        assert some[:-1] == whole[: max(0, len(some) - 1)], data[:cut][-200:]


@every_format
def test_with_windows_line_ends_it_gives_the_same_records(name: str) -> None:
    data = LOGS[name]
    assert repr(decode(new(), data.replace(b"\n", b"\r\n"))) == repr(decode(new(), data))


@every_format
def test_with_colours_and_in_utf_16_it_gives_the_same_steps(name: str) -> None:
    data = LOGS[name].decode().encode("ascii", "replace")
    plain = without_lines(decode(new(), data))
    coloured = b"".join(b"\x1b[2m" + line + b"\x1b[0m\n" for line in data.split(b"\n"))
    assert without_lines(decode(new(), coloured)) == plain
    wide = "".join(map(chr, data)).encode("utf-16")
    assert without_lines(decode(new(), wide)) == plain


@every_format
def test_a_time_in_front_of_each_line_becomes_the_time_of_its_step(name: str) -> None:
    lines = LOGS[name].splitlines()
    data = b"".join(b"%d.25 %s\n" % (1_700_000_000 + i, line) for i, line in enumerate(lines))
    found, plain = steps(decode(new(), data)), steps(decode(new(), LOGS[name]))
    assert [s.step for s in found] == [s.step for s in plain]
    assert all(s.time is not None and s.time % 1 == 0.25 for s in found)


@every_format
def test_garbage_between_its_lines_changes_nothing(name: str) -> None:
    data = LOGS[name]
    noise = b"\xff\xfe binary \x00 noise\n" + b"tensor([[0.1, 0.2], [0.3, 0.4]])\n" + b"<|bos|>A text, and so on.\n"
    lines = data.split(b"\n")
    mixed = b"\n".join(noise.rstrip(b"\n") + b"\n" + line for line in lines)
    assert without_lines(decode(new(), mixed)) == without_lines(decode(new(), data))


@every_format
def test_the_same_log_twice_gives_its_steps_twice(name: str) -> None:
    data = LOGS[name]
    once = [s.step for s in steps(decode(new(), data))]
    twice = [s.step for s in steps(decode(new(), data + b"\n" + data))]
    assert twice[: len(once)] == once
    assert twice[len(once) :] == once or FORMATS[name].name == "hf-trainer"  # which goes on counting without a header


@every_format
def test_another_trainer_in_the_middle_of_the_file_is_read_too(name: str) -> None:
    other = "nanochat" if name != "nanochat" else "torchtitan"
    decoder = new()
    found = steps(decode(decoder, LOGS[other] + LOGS[name]))
    assert len(found) >= len(steps(decode(new(), LOGS[other])))
    if not FORMATS[name].is_generic:
        assert decoder.format == name


@every_format
def test_every_number_of_it_may_be_nonsense(name: str) -> None:
    for nonsense in (b"nan", b"-inf", b"N/A", b"1e999", b"", b"x", b"9" * 400, b"-", b"1.2.3"):
        data = re.sub(rb"\d[\d.,]*", nonsense, LOGS[name])
        assert_split_makes_no_difference(new, data, tries=1)


@every_format
def test_its_documentation_is_complete(name: str) -> None:
    fmt = FORMATS[name]
    assert fmt.name == name
    for text in (fmt.title, fmt.example, fmt.versions, fmt.reads, fmt.smoothed):
        assert text
        assert text == text.strip()


@every_format
def test_its_example_line_is_one_that_it_reads(name: str) -> None:
    records = decode(new(), (FORMATS[name].example + "\n").encode())
    assert len(steps(records)) == 1


@every_format
def test_its_patterns_have_no_repeat_that_can_match_what_its_own_rest_matches(name: str) -> None:
    """A structural test for linear time: no repeat without limit inside another, nor twice in a row."""
    for pattern in FORMATS[name].patterns():
        assert not re.search(rb"[+*]\)[+*]", pattern), pattern
        assert not re.search(rb"\.[*+][^)]*\.[*+]", pattern), pattern


def test_a_megabyte_of_the_beginning_of_each_example_is_read_quickly() -> None:
    data = b"".join(fmt.example.encode()[:30] * 40_000 + b"\n" for fmt in FORMATS.values())
    records = decode(new(), data)
    assert len(records) <= len(FORMATS) * 4


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_pieces_of_all_formats_in_any_order_never_raise_and_do_not_depend_on_the_split(data: st.DataObject) -> None:
    pieces = [line + b"\n" for log in LOGS.values() for line in log.split(b"\n")]
    some = data.draw(st.lists(st.sampled_from(pieces) | st.binary(max_size=40), max_size=30))
    text = b"".join(some)
    cuts = data.draw(st.lists(st.integers(0, max(1, len(text))), max_size=4))
    assert repr(decode(new(), text, cuts)) == repr(decode(new(), text))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_never_raise(data: bytes) -> None:
    decoder = new()
    records = decode(decoder, data)
    assert all(r is not None for r in records)
    json.dumps(decoder.state())


def test_an_empty_log_gives_nothing() -> None:
    decoder = new()
    assert decode(decoder, b"") == []
    assert (decoder.format, decoder.counts.lines, decoder.counts.errors) == (None, 0, {})


def test_all_formats_have_their_own_name() -> None:
    assert not set(FORMATS) & set(FILES)


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'nanochatt' is no format; known are nanochat, "):
        open_decoder(b"", format="nanochatt")


def test_state_of_another_version_is_refused() -> None:
    decoder = new()
    state = decoder.state()
    del state["choice"]["formats"]["nanochat"]
    with pytest.raises(ValueError, match="other formats"):
        decoder.restore(state)


def test_no_number_that_is_not_finite_comes_out_of_a_time_or_a_ratio() -> None:
    for name, log in LOGS.items():
        for s in steps(decode(new(), log)):
            assert s.step_time_s is None or math.isfinite(s.step_time_s), name
            assert s.mfu_ratio is None or 0 < s.mfu_ratio < 1, name
