from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_monitor.parse import lines as module
from training_monitor.parse.base import Counts
from training_monitor.parse.lines import MAX_LINE, Lines


def read(*pieces: bytes) -> tuple[list[tuple[int, bytes]], dict[str, int]]:
    """Numbered lines without blank ones, and the errors; a new object from saved state takes over after each piece."""
    counts = Counts()
    lines = Lines(counts)
    found: list[tuple[int, bytes]] = []
    for piece in pieces:
        found += zip(*lines.feed(piece), strict=True)
        saved = json.loads(json.dumps(lines.state()))
        lines = Lines(counts)
        lines.restore(saved)
    found += zip(*lines.end(), strict=True)
    return [(n, line) for n, line in found if line], counts.errors


def test_lf_crlf_and_lone_cr_end_lines_and_only_lf_counts() -> None:
    assert read(b"a\nb\r\nc\rd\re\n\nf")[0] == [(1, b"a"), (2, b"b"), (3, b"c"), (3, b"d"), (3, b"e"), (5, b"f")]


def test_a_crlf_that_is_split_between_two_reads_is_one_end() -> None:
    assert read(b"a\r", b"\nb\r", b"\n") == read(b"a\r\nb\r\n")


def test_the_unfinished_line_waits_for_its_end() -> None:
    lines = Lines(Counts())
    assert lines.feed(b"step 1 | lo")[1] == []
    assert lines.feed(b"ss: 2\nstep")[1] == [b"step 1 | loss: 2"]
    assert lines.end()[1] == [b"step"]


def test_escapes_are_taken_out_even_inside_words() -> None:
    text = b"\x1b[32m\x1b[1mIN\x1b[0mFO\x1b[38;2;180;60;0m x\x1b[K\x1b]0;title\x07 y\x1b]8;;http://a\x1b\\link\x1b(B\x1bM.\n"
    assert read(text)[0] == [(1, b"INFO x ylink.")]


def test_a_hole_of_nuls_ends_a_line_and_single_ones_vanish() -> None:
    assert read(b"head" + b"\0" * 9000 + b"tail\na\0b\n") == ([(1, b"head"), (1, b"tail"), (2, b"ab")], {"nul_hole": 1})


def test_utf_16_of_a_windows_shell_reads_as_text() -> None:
    assert read("\ufeffstep 1\r\nstep 2\r\n".encode("utf-16-le"))[0] == [(1, b"step 1"), (2, b"step 2")]


def test_a_byte_order_mark_is_no_text() -> None:
    assert read(b"\xef\xbb\xbfstep 1\n")[0] == [(1, b"step 1")]


def test_bytes_that_are_not_utf_8_are_replaced_and_counted() -> None:
    assert read(b"caf\xc3\xa9\ncaf\xe9\n") == ([(1, b"caf\xc3\xa9"), (2, "caf\ufffd".encode())], {"not_utf8": 1})


def test_of_a_line_of_200_mb_the_beginning_is_kept_and_memory_stays_small() -> None:
    counts = Counts()
    lines = Lines(counts)
    megabyte = b"x" * (1 << 20)
    for _ in range(200):
        assert lines.feed(megabyte)[1] == []
        assert len(lines.state()["rest"]) == MAX_LINE
    numbers, found = lines.feed(b"\nstep 1\n")
    assert ([*numbers], [*map(len, found)], counts.errors) == ([1, 2], [MAX_LINE, 6], {"line_too_long": 1})


def test_a_long_progress_bar_is_no_long_line() -> None:
    found, errors = read(b"".join(b"\r%5d/100000 done" % i for i in range(10_000)) + b"\n")
    assert (len(found), errors) == (10_000, {})


@pytest.fixture
def short_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINE", 7)


pieces = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"\0", b"a", b"bcd", b"\x1b", b"[3m", b"\xff", b"\xc3\xa9"]), max_size=25
).map(b"".join)


@pytest.mark.usefixtures("short_lines")
def test_no_split_changes_the_lines() -> None:
    @given(pieces, st.lists(st.integers(0, 40), max_size=4))
    def check(data: bytes, cuts: list[int]) -> None:
        edges = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
        whole = read(data)
        assert read(*(data[a:b] for a, b in pairwise(edges))) == whole
        assert read(*(data[i : i + 1] for i in range(len(data)))) == whole

    check()
