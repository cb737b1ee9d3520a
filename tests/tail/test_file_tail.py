"""What `FileTail` delivers when a log grows, rotates, is truncated, replaced, deleted: real files, real pygtail."""

from __future__ import annotations

import errno
import gzip
import itertools
import json
import logging
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from logging.handlers import RotatingFileHandler
from pathlib import Path

import pytest

from training_monitor.records import Chunk
from training_monitor.tail import file, rotation
from training_monitor.tail import generations as names_of_rotated
from training_monitor.tail.generations import File, _Names, generations
from training_monitor.tail.part import Part
from training_monitor.tail.place import Place
from training_monitor.tail.rotation import Found

_open: list[file.FileTail] = []


class FileTail(file.FileTail):
    """Closed at the end of the test."""

    def __init__(self, path: str | os.PathLike[str], *, from_end: bool = False) -> None:
        super().__init__(path, from_end=from_end)
        _open.append(self)


@pytest.fixture(autouse=True)
def close_all() -> Iterator[None]:
    yield
    while _open:
        _open.pop().close()


def everything(tail: FileTail, limit: int = 1 << 20) -> list[Chunk]:
    chunks = []
    while (chunk := tail.read(limit)) is not None:
        assert 0 < len(chunk.data) <= limit
        chunks.append(chunk)
    return chunks


def text(tail: FileTail) -> bytes:
    return b"".join(chunk.data for chunk in everything(tail))


def changes(chunks: list[Chunk]) -> list[str | None]:
    return [chunk.change for chunk in chunks]


def lines(name: str, first: int, last: int) -> bytes:
    """Lines that no other call of other arguments makes; about 100 bytes each."""
    return b"".join(
        b"%s step %06d | loss %s\n" % (name.encode(), i, str(i * 7919 % 104729).encode() * 12)
        for i in range(first, last)
    )


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "train.log"


def restarted(tail: FileTail) -> FileTail:
    """A new process with the saved state of `tail`."""
    state = json.loads(json.dumps(tail.state()))
    tail.close()
    fresh = FileTail(tail.path)
    fresh.restore(state)
    return fresh


# Growth


def test_appended_bytes_come_once_and_in_order(log: Path) -> None:
    log.write_bytes(b"one\n")
    tail = FileTail(log)
    assert text(tail) == b"one\n"
    assert text(tail) == b""
    append(log, b"tw")
    assert text(tail) == b"tw"
    append(log, b"o\n")
    assert text(tail) == b"o\n"


def test_a_file_that_does_not_exist_yet_is_waited_for(log: Path) -> None:
    tail = FileTail(log)
    assert tail.read() is None
    assert (tail.exists, tail.problem) == (False, None)
    log.write_bytes(b"one\n")
    assert [(c.data, c.change) for c in everything(tail)] == [(b"one\n", None)]
    assert tail.exists


def test_an_empty_file_gives_nothing_and_is_no_problem(log: Path) -> None:
    log.touch()
    tail = FileTail(log)
    assert tail.read() is None
    assert (tail.exists, tail.problem, tail.lag_bytes) == (True, None, 0)


def test_a_read_never_gives_more_than_its_limit_however_long_the_line(log: Path) -> None:
    with log.open("wb") as file:
        file.truncate(200 << 20)  # a line of 200 MB
        file.seek(0)
        file.write(b"x" * (3 << 20))
    tail = FileTail(log)
    first = tail.read(1 << 20)
    assert first is not None
    assert (len(first.data), first.at_end) == (1 << 20, False)
    assert tail.lag_bytes == 199 << 20


def test_at_end_is_true_on_the_last_chunk_only(log: Path) -> None:
    log.write_bytes(b"x" * 2500)
    assert [c.at_end for c in everything(FileTail(log), limit=1000)] == [False, False, True]


def test_lag_is_what_was_not_read_yet(log: Path) -> None:
    log.write_bytes(b"x" * 2500)
    tail = FileTail(log)
    tail.read(1000)
    assert (tail.size_bytes, tail.offset, tail.lag_bytes) == (2500, 1000, 1500)


def test_bytes_are_delivered_as_they_are(log: Path) -> None:
    data = b"10%|#\r20%|##\r\xff\xfe bad utf-8 \x00 nul \r\n\x1b[32mgreen\x1b[0m no end"
    log.write_bytes(data)
    tail = FileTail(log)
    assert text(tail) == data
    append(log, b"\r30%|###\r")
    assert text(tail) == b"\r30%|###\r"


def test_reading_from_the_end_begins_at_the_start_of_the_last_line(log: Path) -> None:
    log.write_bytes(b"one\ntwo\nthr")
    tail = FileTail(log, from_end=True)
    assert text(tail) == b"thr"
    append(log, b"ee\nfour\n")
    assert text(tail) == b"ee\nfour\n"


def test_reading_from_the_end_gives_all_of_a_file_that_appears_later(log: Path) -> None:
    tail = FileTail(log, from_end=True)
    tail.read()
    log.write_bytes(b"one\ntwo\n")
    assert text(tail) == b"one\ntwo\n"


def test_the_time_of_a_chunk_is_when_the_file_was_last_written(log: Path) -> None:
    log.write_bytes(b"one\n")
    os.utime(log, (1_700_000_000, 1_700_000_000))
    (chunk,) = everything(FileTail(log))
    assert chunk.mtime == 1_700_000_000


def test_nothing_is_written_beside_the_log(log: Path) -> None:
    log.write_bytes(b"one\n")
    tail = FileTail(log)
    text(tail)
    os.rename(log, f"{log}.1")
    log.write_bytes(b"two\n")
    text(tail)
    log.write_bytes(b"3\n")
    text(tail)
    assert sorted(p.name for p in log.parent.iterdir()) == ["train.log", "train.log.1"]


# Rotation


def test_after_rename_and_create_the_rest_of_the_old_file_comes_first(log: Path) -> None:
    log.write_bytes(b"one\n")
    tail = FileTail(log)
    text(tail)
    append(log, b"two\n")
    os.rename(log, f"{log}.1")
    log.write_bytes(b"three\n")
    assert [(c.data, c.change) for c in everything(tail)] == [(b"two\n", None), (b"three\n", "rotated")]
    assert (tail.rotations, tail.replacements, tail.lost_bytes) == (1, 0, 0)


def test_a_writer_that_keeps_the_renamed_file_open_is_still_followed(log: Path) -> None:
    with log.open("ab", buffering=0) as writer:
        writer.write(b"one\n")
        tail = FileTail(log)
        text(tail)
        os.rename(log, f"{log}.1")
        log.touch()  # logrotate's "create"; tee never looks at it
        writer.write(b"two\n")
        assert text(tail) == b"two\n"
        writer.write(b"three\n")
        assert text(tail) == b"three\n"
    assert tail.rotations == 0


@pytest.mark.parametrize(
    "name",
    [
        "{}.1",
        "{}.0",
        "{}-20260102",
        "{}-20260102-1767312000",
        "{}.2026-01-02",
        "{}.20260102-101112",
        "{}-2026-01-02_10-11",
    ],
)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("stopped", [False, True])
def test_every_naming_scheme_of_rotation_is_found(log: Path, name: str, packed: bool, stopped: bool) -> None:
    log.write_bytes(lines("a", 0, 30))
    tail = FileTail(log)
    text(tail)
    append(log, b"rest\n")
    if stopped:
        tail = restarted(tail)
    old = Path(name.format(log))
    os.rename(log, old)
    if packed:
        pack(old)
    log.write_bytes(b"new\n")
    assert [(c.data, c.change) for c in everything(tail)] == [(b"rest\n", None), (b"new\n", "rotated")]


def pack(path: Path) -> None:
    """gzip: the time of the file stays, the file goes."""
    with path.open("rb") as plain, gzip.open(f"{path}.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    shutil.copystat(path, f"{path}.gz")
    path.unlink()


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_three_rotations_between_two_looks_lose_nothing(log: Path, stopped: bool, packed: bool) -> None:
    log.write_bytes(lines("a", 0, 30))
    tail = FileTail(log)
    text(tail)
    append(log, b"a rest\n")
    if stopped:
        tail = restarted(tail)
    for data in (b"b\n", b"c\n", b"d\n"):
        rotate(log, packed=packed)
        log.write_bytes(data)
    assert b"".join(c.data for c in everything(tail)) == b"a rest\nb\nc\nd\n"
    assert (tail.rotations, tail.replacements) == (3, 0)


def rotate(log: Path, *, packed: bool = False, keep: int = 9) -> None:
    """As logrotate does, with `delaycompress` where packed."""
    for n in range(keep, 0, -1):
        for suffix in ("", ".gz"):
            if os.path.exists(f"{log}.{n}{suffix}"):
                os.rename(f"{log}.{n}{suffix}", f"{log}.{n + 1}{suffix}")
    os.rename(log, f"{log}.1")
    if packed and os.path.exists(f"{log}.2"):
        pack(Path(f"{log}.2"))


def test_newer_generations_are_read_also_while_the_log_itself_is_empty_or_missing(log: Path) -> None:
    log.write_bytes(lines("a", 0, 3))
    tail = FileTail(log)
    text(tail)
    for data in (b"b\n", b"c\n", b""):
        rotate(log)
        log.write_bytes(data)
    assert text(tail) == b"b\nc\n"
    rotate(log)
    assert text(tail) == b""
    log.write_bytes(b"d\n")
    rotate(log)
    log.write_bytes(b"e\n")
    assert text(tail) == b"d\ne\n"
    assert tail.replacements == 0


def test_an_empty_generation_between_is_passed_over(log: Path) -> None:
    log.write_bytes(lines("a", 0, 3))
    tail = FileTail(log)
    text(tail)
    for data in (b"", b"c\n", b"d\n"):
        rotate(log)
        log.write_bytes(data)
    assert text(tail) == b"c\nd\n"


@pytest.mark.parametrize("packed", [False, True])
def test_copytruncate_gives_the_rest_of_the_copy_then_the_new_content(log: Path, packed: bool) -> None:
    log.write_bytes(lines("a", 0, 30))
    tail = FileTail(log)
    text(tail)
    append(log, b"rest\n")
    copy = Path(f"{log}.1")
    shutil.copy(log, copy)
    if packed:
        pack(copy)
    os.truncate(log, 0)
    append(log, b"new\n")
    assert [(c.data, c.change) for c in everything(tail)] == [(b"rest\n", None), (b"new\n", "rotated")]
    assert (tail.rotations, tail.replacements, tail.lost_bytes) == (1, 0, 0)


def test_copytruncate_is_recognised_when_the_new_content_is_longer_than_the_old(log: Path) -> None:
    log.write_bytes(lines("a", 0, 3))
    tail = FileTail(log)
    text(tail)
    shutil.copy(log, f"{log}.1")
    os.truncate(log, 0)
    append(log, lines("b", 0, 50))
    assert [(c.data, c.change) for c in everything(tail)] == [(lines("b", 0, 50), "rotated")]


def copy_and_truncate(log: Path, new: bytes) -> None:
    for n in (2, 1):
        if os.path.exists(f"{log}.{n}"):
            os.rename(f"{log}.{n}", f"{log}.{n + 1}")
    shutil.copy(log, f"{log}.1")
    os.truncate(log, 0)
    append(log, new)


def test_a_log_truncated_again_while_its_past_is_looked_for_loses_nothing(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write_bytes(lines("a", 0, 3))
    tail = FileTail(log)
    text(tail)
    copy_and_truncate(log, lines("b", 0, 5))
    rounds = itertools.count(1)
    find = rotation.find

    def slow_find(path: str, place: Place, first_of_log: Callable[[], bytes] = bytes) -> Found | None:
        found = find(path, place, first_of_log)
        if next(rounds) == 2:  # the first search finds the copy, the second what comes after it
            copy_and_truncate(log, lines("c", 0, 50))
        return found

    monkeypatch.setattr(rotation, "find", slow_find)
    assert text(tail) == lines("b", 0, 5) + lines("c", 0, 50)
    assert (tail.replacements, tail.lost_bytes) == (0, 0)


def test_a_log_truncated_while_its_copy_is_read_loses_nothing(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.write_bytes(lines("a", 0, 3))
    tail = FileTail(log)
    text(tail)
    copy_and_truncate(log, lines("b", 0, 5))
    os.rename(f"{log}.1", f"{log}.2")
    shutil.copy(log, f"{log}.1")  # the second copy is made, and the log not truncated yet
    find, found_in = rotation.find, Place.found_in

    def find_after_truncation(place: Place, part: Part) -> bytes | None:
        if place.offset == len(lines("b", 0, 5)):
            os.truncate(log, 0)
            monkeypatch.setattr(Place, "found_in", found_in)
            monkeypatch.setattr(rotation, "find", find_before_writing)
        return found_in(place, part)

    def find_before_writing(path: str, place: Place, first_of_log: Callable[[], bytes] = bytes) -> Found | None:
        monkeypatch.setattr(rotation, "find", find)
        found = find(path, place, first_of_log)
        append(log, b"c\n")
        copy_and_truncate(log, b"d\n")
        return found

    monkeypatch.setattr(Place, "found_in", find_after_truncation)
    assert text(tail) + text(tail) == lines("b", 0, 5) + b"c\nd\n"


def test_while_an_emptied_log_stays_empty_its_past_is_searched_once(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.write_bytes(lines("a", 0, 3))
    tail = FileTail(log)
    text(tail)
    rotate(log)
    log.touch()
    searches = []
    find = rotation.find

    def count(path: str, place: Place) -> Found | None:
        searches.append(path)
        return find(path, place)

    monkeypatch.setattr(rotation, "find", count)
    for _ in range(3):
        assert tail.read() is None
    assert len(searches) == 1


def test_a_line_cut_in_two_by_copytruncate_comes_whole(log: Path) -> None:
    log.write_bytes(b"step 1 | lo")
    tail = FileTail(log)
    text(tail)
    shutil.copy(log, f"{log}.1")
    os.truncate(log, 0)
    append(log, b"ss 2.5\n")
    assert [(c.data, c.change) for c in everything(tail)] == [(b"ss 2.5\n", "rotated")]


def test_pygtail_proposes_the_newest_rotated_file(log: Path) -> None:
    assert _Names(str(log)).newest() is None
    for name in ("-20260101", "-20260102", ".1.gz", ".1"):
        Path(f"{log}{name}").write_bytes(b"x")
        assert _Names(str(log)).newest() == f"{log}{name}"


def test_generations_are_listed_newest_first_and_a_plain_file_before_the_archive_in_the_making(log: Path) -> None:
    for name in (".2", ".10.gz", ".1", ".1.gz", "-20260102.gz", "-20260103", ".bak", "2.log", ".1.tmp"):
        Path(f"{log}{name}").write_bytes(b"x")
    numbered, dated = ([file.path for file in scheme] for scheme in generations(str(log)))
    assert numbered == [f"{log}.1", f"{log}.2", f"{log}.10.gz"]
    assert dated == [f"{log}-20260103", f"{log}-20260102.gz"]


def test_rotation_is_seen_under_a_name_with_wildcards(tmp_path: Path) -> None:
    log = tmp_path / "lr=[0.1]*?.log"
    log.write_bytes(lines("a", 0, 3))
    tail = FileTail(log)
    text(tail)
    append(log, b"rest\n")
    os.rename(log, f"{log}-20260102")
    log.write_bytes(b"new\n")
    assert [(c.data, c.change) for c in everything(tail)] == [(b"rest\n", None), (b"new\n", "rotated")]


def test_files_that_are_renamed_whenever_we_look_are_looked_at_again(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list made while files are renamed may lack one: it must not be taken for a log without a past."""
    log.write_bytes(lines("a", 0, 3))
    tail = FileTail(log)
    text(tail)
    append(log, b"rest\n")
    tail = restarted(tail)
    rotate(log)
    log.write_bytes(b"new\n")
    rounds = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr(names_of_rotated, "generations", lambda path: [[File(f"{log}.1", next(rounds))]])
        assert tail.read() is None
        assert "change all the time" in str(tail.problem)
    assert [(c.data, c.change) for c in everything(tail)] == [(b"rest\n", None), (b"new\n", "rotated")]
    assert tail.problem is None


def test_a_folder_that_cannot_be_listed_does_not_stop_the_reading(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.write_bytes(lines("a", 0, 3))
    tail = FileTail(log)
    text(tail)
    log.write_bytes(b"new\n")
    monkeypatch.setattr(os, "scandir", refuse)
    assert [(c.data, c.change) for c in everything(tail)] == [(b"new\n", "replaced")]


def test_a_writer_that_rotates_while_it_is_read_loses_and_doubles_nothing(log: Path) -> None:
    """Python's own RotatingFileHandler in another thread, 100 generations."""
    expected = [f"step {i:05d} | loss: {i * 7919 % 104729}" for i in range(4000)]

    def write() -> None:
        with closing(RotatingFileHandler(log, maxBytes=1000, backupCount=1000)) as handler:
            for message in expected:
                handler.emit(logging.makeLogRecord({"msg": message}))

    log.write_bytes(b"first\n")
    tail = FileTail(log)
    assert text(tail) == b"first\n"
    writer = threading.Thread(target=write)
    writer.start()
    got = b""
    while writer.is_alive():
        got += text(tail)
    writer.join()
    got += text(tail)
    assert got.decode().splitlines() == expected
    assert tail.replacements == 0


def test_a_stale_rotated_file_of_an_older_run_is_not_spliced_in(log: Path) -> None:
    Path(f"{log}.1").write_bytes(b"older run\n" * 40)
    log.write_bytes(lines("a", 0, 3))
    tail = FileTail(log)
    text(tail)
    log.write_bytes(b"new run\n")
    assert [(c.data, c.change) for c in everything(tail)] == [(b"new run\n", "replaced")]


def test_a_stale_rotated_file_with_the_same_banner_is_known_by_its_age(log: Path) -> None:
    banner = b"nanochat " * 100
    stale = Path(f"{log}.1")
    stale.write_bytes(banner + b"step of an older run\n")
    os.utime(stale, (1_700_000_000, 1_700_000_000))
    log.write_bytes(banner)
    tail = FileTail(log)
    text(tail)
    log.write_bytes(b"new run\n")
    assert text(tail) == b"new run\n"


def test_a_damaged_archive_is_read_up_to_the_damage(log: Path) -> None:
    log.write_bytes(lines("a", 0, 2000))
    tail = FileTail(log)
    tail.read(1000)
    state = tail.state()
    tail.close()
    rotate(log)
    pack(Path(f"{log}.1"))
    os.truncate(f"{log}.1.gz", os.path.getsize(f"{log}.1.gz") // 2)
    log.write_bytes(b"new\n")
    tail = FileTail(log)
    tail.restore(state)
    got = text(tail)
    assert got.endswith(b"new\n")
    assert lines("a", 0, 2000)[1000:].startswith(got[: -len(b"new\n")])
    assert len(got) > 1000


def test_no_more_is_taken_out_of_an_archive_than_a_log_is_long(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training_monitor.tail.part.MAX_UNPACKED", 1000)
    packed = Path(f"{log}.gz")
    packed.write_bytes(gzip.compress(b"a" * 1_000_000))
    assert len(text(FileTail(packed))) == 1000


def test_an_archive_that_is_none_is_refused(log: Path) -> None:
    log.write_bytes(lines("a", 0, 3))
    tail = FileTail(log)
    text(tail)
    Path(f"{log}.1.gz").write_bytes(b"no archive")
    log.write_bytes(b"new\n")
    assert [(c.data, c.change) for c in everything(tail)] == [(b"new\n", "replaced")]


# Truncation and replacement


@pytest.mark.parametrize("n", [1, 3, 100])  # shorter than before, as long as before, longer
@pytest.mark.parametrize("stopped", [False, True])
def test_truncated_and_rewritten_is_read_from_its_start(log: Path, n: int, stopped: bool) -> None:
    log.write_bytes(lines("a", 0, 3))
    tail = FileTail(log)
    text(tail)
    if stopped:
        tail = restarted(tail)
    inode = log.stat().st_ino
    log.write_bytes(lines("b", 0, n))
    assert log.stat().st_ino == inode
    assert [(c.data, c.change) for c in everything(tail)] == [(lines("b", 0, n), "replaced")]
    assert (tail.rotations, tail.replacements, tail.lost_bytes) == (0, 1, 0)


def test_truncation_seen_before_new_content_is_told_with_the_new_content_even_after_a_restart(log: Path) -> None:
    log.write_bytes(lines("a", 0, 3))
    tail = FileTail(log)
    text(tail)
    os.truncate(log, 0)
    assert tail.read() is None
    tail = restarted(tail)
    append(log, b"new\n")
    assert [(c.data, c.change) for c in everything(tail)] == [(b"new\n", "replaced")]


def test_two_runs_with_the_same_first_kilobytes_are_told_apart(log: Path) -> None:
    banner = b"nanochat banner\n" * 300
    log.write_bytes(banner + lines("a", 0, 3))
    tail = FileTail(log)
    text(tail)
    log.write_bytes(banner + lines("b", 0, 60))
    assert [(c.data, c.change) for c in everything(tail)] == [(banner + lines("b", 0, 60), "replaced")]


@pytest.mark.parametrize("stopped", [False, True])
def test_two_runs_that_differ_in_their_header_only_are_told_apart(log: Path, stopped: bool) -> None:
    same = b"step 1 | loss: 2.5\n" * 200
    log.write_bytes(b"began at 10:00\n" + same)
    tail = FileTail(log)
    text(tail)
    if stopped:
        tail = restarted(tail)
    log.write_bytes(b"began at 11:00\n" + same * 2)
    assert [(c.data, c.change) for c in everything(tail)] == [(b"began at 11:00\n" + same * 2, "replaced")]


def test_bytes_that_a_truncation_took_are_counted(log: Path) -> None:
    log.write_bytes(b"x" * 2500)
    tail = FileTail(log)
    tail.read(1000)
    log.write_bytes(b"new\n")
    assert text(tail) == b"new\n"
    assert tail.lost_bytes == 1500


def test_a_file_that_shrinks_was_truncated_even_if_what_was_read_still_stands(log: Path) -> None:
    log.write_bytes(b"banner\n" + lines("a", 0, 3))
    tail = FileTail(log)
    tail.read(7)
    log.write_bytes(b"banner\n")
    assert [(c.data, c.change) for c in everything(tail)] == [(b"banner\n", "replaced")]
    assert tail.lost_bytes == len(lines("a", 0, 3))


def test_truncation_between_two_reads_of_a_long_file_is_seen(log: Path) -> None:
    log.write_bytes(lines("a", 0, 100))
    tail = FileTail(log)
    tail.read(1000)
    log.write_bytes(lines("b", 0, 200))
    assert text(tail) == lines("b", 0, 200)


@pytest.mark.parametrize("stopped", [False, True])
def test_deleted_and_made_again_is_read_from_its_start_whatever_its_inode(log: Path, stopped: bool) -> None:
    log.write_bytes(lines("a", 0, 3))
    tail = FileTail(log)
    text(tail)
    if stopped:
        tail = restarted(tail)
    log.unlink()
    log.write_bytes(lines("b", 0, 10))
    assert [(c.data, c.change) for c in everything(tail)] == [(lines("b", 0, 10), "replaced")]


def test_what_is_written_to_a_deleted_file_is_read(log: Path) -> None:
    with log.open("ab", buffering=0) as writer:
        writer.write(b"one\n")
        tail = FileTail(log)
        text(tail)
        log.unlink()
        writer.write(b"two\n")
        assert text(tail) == b"two\n"
    assert (tail.exists, tail.problem) == (False, None)


def test_a_file_that_vanishes_and_comes_back_goes_on_where_it_was(log: Path, tmp_path: Path) -> None:
    log.write_bytes(lines("a", 0, 3))
    tail = FileTail(log)
    text(tail)
    away = tmp_path / "away"
    os.rename(log, away)
    assert tail.read() is None
    append(away, b"more\n")
    os.rename(away, log)
    assert [(c.data, c.change) for c in everything(tail)] == [(b"more\n", None)]


def test_the_same_content_in_a_new_file_goes_on(log: Path, tmp_path: Path) -> None:
    """rsync writes a new file each time and renames it over the old one."""
    log.write_bytes(lines("a", 0, 30))
    tail = FileTail(log)
    text(tail)
    for n in (40, 55):
        fresh = tmp_path / ".train.log.Xy12z"
        fresh.write_bytes(lines("a", 0, n))
        os.replace(fresh, log)
        everything(tail)
    assert tail.offset == len(lines("a", 0, 55))
    assert (tail.rotations, tail.replacements) == (0, 0)


def test_a_copy_that_holds_more_than_the_file_that_was_read_is_read_on(log: Path, tmp_path: Path) -> None:
    log.write_bytes(lines("a", 0, 3))
    tail = FileTail(log)
    text(tail)
    shutil.copy(log, tmp_path / "fresh")
    os.replace(tmp_path / "fresh", log)
    append(log, b"rest\n")
    shutil.copy(log, f"{log}.1")
    log.write_bytes(b"new\n")
    assert [(c.data, c.change) for c in everything(tail)] == [(b"rest\n", None), (b"new\n", "rotated")]


def test_a_packed_log_named_by_the_user_is_read_whole(log: Path) -> None:
    log.write_bytes(lines("a", 0, 3000))
    pack(log)
    tail = FileTail(f"{log}.gz")
    assert b"".join(c.data for c in everything(tail, limit=50_000)) == lines("a", 0, 3000)
    assert (tail.problem, tail.lag_bytes) == (None, 0)
    assert tail.read() is None


def test_a_symbolic_link_that_is_switched_gives_the_new_file_from_its_start(log: Path, tmp_path: Path) -> None:
    (tmp_path / "run1.log").write_bytes(lines("a", 0, 3))
    (tmp_path / "run2.log").write_bytes(lines("b", 0, 9))
    log.symlink_to("run1.log")
    tail = FileTail(log)
    assert text(tail) == lines("a", 0, 3)
    append(tmp_path / "run1.log", b"rest\n")
    log.unlink()
    log.symlink_to("run2.log")
    got = everything(tail)
    assert [(c.data, c.change) for c in got] == [(b"rest\n", None), (lines("b", 0, 9), "replaced")]


def test_the_target_of_a_symbolic_link_is_followed_through_rotation(log: Path, tmp_path: Path) -> None:
    real = tmp_path / "runs"
    real.mkdir()
    (real / "a.log").write_bytes(b"one\n")
    log.symlink_to(real / "a.log")
    tail = FileTail(log)
    text(tail)
    rotate(real / "a.log")
    (real / "a.log").write_bytes(b"two\n")
    assert [(c.data, c.change) for c in everything(tail)] == [(b"two\n", "rotated")]


def test_the_hole_of_a_writer_that_seeks_is_skipped(log: Path) -> None:
    """Opened without O_APPEND, a writer goes on at its old offset after copytruncate and leaves a hole before it."""
    with log.open("wb", buffering=0) as writer:
        writer.write(lines("a", 0, 1000))
        tail = FileTail(log)
        text(tail)
        shutil.copy(log, f"{log}.1")
        os.truncate(log, 0)
        writer.write(b"new\n")
        assert [(c.data, c.change) for c in everything(tail)] == [(b"new\n", "rotated")]
        writer.write(b"newer\n")
        assert text(tail) == b"newer\n"


def test_a_file_that_is_a_hole_only_gives_nothing_until_it_is_written(log: Path) -> None:
    with log.open("wb", buffering=0) as writer:
        writer.truncate(5000)
        tail = FileTail(log)
        assert tail.read() is None
        writer.seek(5000)
        writer.write(b"new\n")
        assert text(tail) == b"new\n"


# Bad input


def test_a_directory_is_named_as_the_problem(tmp_path: Path) -> None:
    tail = FileTail(tmp_path)
    assert tail.read() is None
    assert tail.problem == f"{tmp_path} is a directory, which is not read; write the log to a regular file"


def test_a_named_pipe_is_not_opened(log: Path) -> None:
    os.mkfifo(log)
    tail = FileTail(log)
    assert tail.read() is None  # opening would block: nobody writes
    assert "is a named pipe" in str(tail.problem)


def test_a_socket_is_not_opened(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(log.parent)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("train.log")
        tail = FileTail("train.log")
        assert tail.read() is None
    assert "is a socket" in str(tail.problem)


def test_a_device_is_not_opened() -> None:
    tail = FileTail("/dev/zero")
    assert tail.read() is None
    assert "is a device" in str(tail.problem)


def test_a_path_with_a_nul_is_a_problem_not_a_crash() -> None:
    tail = FileTail("train\0.log")
    assert tail.read() is None
    assert "check the path" in str(tail.problem)


def test_a_circle_of_symbolic_links_is_a_problem_not_a_crash(log: Path) -> None:
    log.symlink_to(log)
    tail = FileTail(log)
    assert tail.read() is None
    assert "symbolic links" in str(tail.problem)


def test_permission_lost_and_regained_loses_nothing(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.write_bytes(b"one\n")
    tail = FileTail(log)
    text(tail)
    tail.close()
    append(log, b"two\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)  # the tests may run as root, to whom nothing is forbidden
        assert tail.read() is None
        assert "no permission" in str(tail.problem)
    assert text(tail) == b"two\n"
    assert tail.problem is None


def refuse(path: str, *_: object, **__: object) -> int:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def test_a_file_that_turns_into_a_directory_and_back_goes_on(log: Path, tmp_path: Path) -> None:
    log.write_bytes(b"one\n")
    tail = FileTail(log)
    text(tail)
    os.rename(log, tmp_path / "kept")
    log.mkdir()
    assert tail.read() is None
    assert "directory" in str(tail.problem)
    log.rmdir()
    append(tmp_path / "kept", b"two\n")
    os.rename(tmp_path / "kept", log)
    assert text(tail) == b"two\n"


# State


def test_a_restart_goes_on_where_reading_stopped(log: Path) -> None:
    log.write_bytes(lines("a", 0, 100))
    tail = FileTail(log)
    first = tail.read(1234)
    assert first is not None
    assert first.data + text(restarted(tail)) == lines("a", 0, 100)


def test_a_restart_in_the_middle_of_a_rotated_archive_goes_on_there(log: Path) -> None:
    log.write_bytes(lines("a", 0, 100))
    tail = FileTail(log)
    tail.read(500)
    tail = restarted(tail)
    rotate(log)
    log.write_bytes(b"b\n")
    rotate(log, packed=True)
    log.write_bytes(b"c\n")
    got = b""
    while (chunk := tail.read(700)) is not None:
        got += chunk.data
        tail = restarted(tail)
    assert got == lines("a", 0, 100)[500:] + b"b\nc\n"


def test_a_log_that_was_moved_to_another_file_system_goes_on(log: Path, tmp_path: Path) -> None:
    log.write_bytes(lines("a", 0, 100))
    tail = FileTail(log)
    text(tail)
    tail = restarted(tail)
    shutil.copy(log, tmp_path / "copy")
    os.replace(tmp_path / "copy", log)
    append(log, b"more\n")
    assert text(tail) == b"more\n"


def test_a_log_rotated_away_while_stopped_is_read_before_a_new_one_appears(log: Path) -> None:
    log.write_bytes(b"one\n")
    tail = FileTail(log)
    text(tail)
    append(log, b"two\n")
    tail = restarted(tail)
    rotate(log)
    assert text(tail) == b"two\n"
    log.write_bytes(b"three\n")
    assert [(c.data, c.change) for c in everything(tail)] == [(b"three\n", "rotated")]


def test_state_holds_no_log_text_and_is_small(log: Path) -> None:
    log.write_bytes(b"secret" * 1000)
    tail = FileTail(log)
    text(tail)
    saved = json.dumps(tail.state())
    assert "secret" not in saved
    assert len(saved) < 400


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 2},
        {"offset": -1},
        {"offset": "12"},
        {"mtime": float("nan")},
        {"head": None},
        {"change": "moved"},
        {"lost_bytes": None},
    ],
)
def test_a_foreign_state_is_refused_and_changes_nothing(log: Path, damage: dict[str, object]) -> None:
    log.write_bytes(b"one\n")
    tail = FileTail(log)
    text(tail)
    before = tail.state()
    with pytest.raises(ValueError, match="tail state"):
        tail.restore({**before, **damage})
    assert tail.state() == before


def test_closing_at_any_time_loses_nothing(log: Path) -> None:
    log.write_bytes(b"one\n")
    tail = FileTail(log)
    tail.close()
    assert text(tail) == b"one\n"
    tail.close()
    tail.close()
    append(log, b"two\n")
    assert text(tail) == b"two\n"
