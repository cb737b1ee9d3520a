"""A file system that hangs holds up nobody, and nothing is lost when it answers again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from training_monitor.tail.file import FileTail
from training_monitor.tail.lanes import Lanes, LaneTail
from training_monitor.tail.mounts import Mounts
from training_monitor.tail.part import Part

DEADLINE_S = 20.0


class Server:
    """A file server that can be made to hang."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Event()

    def hang(self) -> None:
        self.answers.clear()
        self.asked.clear()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    read = Part.read

    def slow_read(part: Part, offset: int, n: int) -> bytes:
        server.asked.set()
        assert server.answers.wait(DEADLINE_S)
        return read(part, offset, n)

    monkeypatch.setattr(Part, "read", slow_read)
    yield server
    server.answers.set()


@pytest.fixture
def lanes(tmp_path: Path) -> Lanes:
    (tmp_path / "nfs").mkdir()
    return Lanes(patience_s=0.02, mounts=Mounts({str(tmp_path / "nfs"): "nfs4"}))


def test_local_files_are_read_without_a_lane(tmp_path: Path, lanes: Lanes) -> None:
    assert lanes.of(str(tmp_path / "train.log")) is None
    assert type(lanes.tail(str(tmp_path / "train.log"))) is FileTail


def test_files_of_one_mount_share_a_lane(tmp_path: Path, lanes: Lanes) -> None:
    assert lanes.of(str(tmp_path / "nfs" / "a.log")) is lanes.of(str(tmp_path / "nfs" / "x" / "b.log"))


def test_while_the_server_answers_a_lane_reads_as_a_tail_does(tmp_path: Path, lanes: Lanes) -> None:
    log = tmp_path / "nfs" / "train.log"
    lanes.patience_s = DEADLINE_S
    tail = lanes.tail(str(log))
    assert isinstance(tail, LaneTail)
    assert tail.read() is None
    log.write_bytes(b"one\n")
    chunk = tail.read()
    assert chunk is not None
    assert chunk.data == b"one\n"
    assert (tail.exists, tail.problem, tail.offset, tail.state()["offset"]) == (True, None, 4, 4)
    tail.close()


def test_a_hanging_server_is_waited_for_once_and_nothing_is_lost(tmp_path: Path, lanes: Lanes, server: Server) -> None:
    for name in ("a.log", "b.log"):
        (tmp_path / "nfs" / name).write_bytes(b"one\n")
    a, b = (lanes.tail(str(tmp_path / "nfs" / name)) for name in ("a.log", "b.log"))
    server.hang()
    before = a.state()
    assert a.read() is None
    assert "does not answer" in str(a.problem)
    assert a.state() == before
    assert server.asked.wait(DEADLINE_S)
    assert b.read() is None  # at once: the lane is known to hang
    assert "does not answer" in str(b.problem)
    server.answers.set()
    for tail in (a, b):
        assert until_read(tail) == b"one\n"
        assert tail.problem is None
        assert tail.state()["offset"] == 4
        tail.close()


def test_the_state_is_that_of_the_bytes_handed_out(tmp_path: Path, lanes: Lanes, server: Server) -> None:
    log = tmp_path / "nfs" / "a.log"
    log.write_bytes(b"one\n")
    tail = lanes.tail(str(log))
    before = tail.state()
    server.hang()
    assert tail.read() is None
    server.answers.set()
    lane = lanes.of(str(log))
    assert lane is not None
    lane.submit(lambda: None).result(DEADLINE_S)  # by now the lane has read the line, and nobody has it
    assert tail.state() == before
    assert until_read(tail) == b"one\n"
    assert tail.state()["offset"] == 4
    tail.close()


def until_read(tail: FileTail) -> bytes:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if (chunk := tail.read()) is not None:
            return chunk.data
    raise AssertionError("never read")


def test_a_hanging_server_does_not_hold_up_local_files(tmp_path: Path, lanes: Lanes, server: Server) -> None:
    (tmp_path / "nfs" / "a.log").write_bytes(b"one\n")
    far = lanes.tail(str(tmp_path / "nfs" / "a.log"))
    server.hang()
    far.read()
    near = lanes.tail(str(tmp_path / "b.log"))
    assert near.read() is None
    assert near.problem is None
    far.close()
    server.answers.set()


def test_a_question_about_a_hanging_mount_gets_the_other_answer(tmp_path: Path, lanes: Lanes) -> None:
    go = threading.Event()
    far = str(tmp_path / "nfs")
    assert lanes.ask(far, lambda: go.wait(DEADLINE_S), otherwise=False) is False
    assert lanes.ask(far, lambda: True, otherwise=False) is False
    assert lanes.ask(str(tmp_path), lambda: True, otherwise=False) is True
    go.set()
    lane = lanes.of(far)
    assert lane is not None
    assert lane.submit(lambda: "done").result(DEADLINE_S) == "done"
    lanes.patience_s = DEADLINE_S
    assert lanes.ask(far, lambda: 7, otherwise=0) == 7


def test_an_error_in_a_lane_is_raised_where_the_answer_is_taken(tmp_path: Path, lanes: Lanes) -> None:
    lane = lanes.of(str(tmp_path / "nfs"))
    assert lane is not None
    lane.patience_s = DEADLINE_S

    def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        lanes.ask(str(tmp_path / "nfs"), fail, otherwise=None)
    assert lanes.ask(str(tmp_path / "nfs"), lambda: 1, otherwise=0) == 1
