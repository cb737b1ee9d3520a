"""The receiver that prints pages, and the writer of live logs."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from real import ROOT, load

receiver = load("stack/receiver.py")
feed = load("stack/feed.py")
PAGE = json.loads((ROOT / "tests/alertmanager/page.json").read_text())


@pytest.fixture
def server() -> Iterator[tuple[str, list[Any]]]:
    """URL of a receiver, and the pages it took."""
    pages: list[Any] = []
    with receiver.receiver("127.0.0.1", 0, pages.append) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", pages
        server.shutdown()
        thread.join()


def post(url: str, body: bytes) -> int:
    try:
        with urllib.request.urlopen(url, body, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as e:
        with e:
            return e.code


def test_a_page_is_printed_with_what_since_when_how_bad_what_to_do_and_where_to_look(capsys: Any) -> None:
    receiver.show(PAGE)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "✖ CRITICAL  MFU drop in run d20  (TrainingMfuDrop, since 03:04:05 UTC)",
        "  Step 9000: MFU 27%, where 45% is usual (-40%).",
        "  The GPUs do less useful work per second than this run did before.",
        "  → Check GPU utilisation and clocks on every node (nvidia-smi dmon).",
        "  → 1. Check for thermal throttling.",
        "  → 2. Check whether the data loader keeps up.",
        "  http://localhost:3000/d/training-run?var-run=d20",
        "  https://example.org/runbooks.md#trainingmfudrop",
        "✔ RESOLVED  Loss spike in run d20  (critical, 03:00:05 to 03:04:00 UTC)",
    ]


def test_control_characters_in_a_name_do_not_reach_the_terminal(capsys: Any) -> None:
    evil = json.loads(json.dumps(PAGE).replace("run d20", "run \\u001b[2Jd20"))
    receiver.show(evil)
    assert "\x1b" not in capsys.readouterr().out


def test_a_page_is_taken_and_answered(server: tuple[str, list[Any]]) -> None:
    url, pages = server
    assert post(url, json.dumps(PAGE).encode()) == 200
    assert pages == [PAGE]


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b"{}", b'{"alerts": [{}]}', b'{"alerts": 3}', b"\xff\xfe"])
def test_what_is_no_page_is_refused_and_survived(server: tuple[str, list[Any]], body: bytes) -> None:
    url, pages = server
    assert post(url, body) == 400
    assert post(url, json.dumps(PAGE).encode()) == 200
    assert pages == [PAGE]


def test_a_page_that_cannot_be_shown_is_left_to_alertmanager_to_try_again() -> None:
    def broken(page: Any) -> None:
        raise BrokenPipeError

    with receiver.receiver("127.0.0.1", 0, broken) as server:
        threading.Thread(target=server.handle_request).start()
        assert post(f"http://127.0.0.1:{server.server_port}/", json.dumps(PAGE).encode()) == 503


def test_a_health_check_is_answered(server: tuple[str, list[Any]]) -> None:
    with urllib.request.urlopen(server[0], timeout=5) as answer:
        assert answer.read() == b"ok\n"


def test_a_log_is_fed_with_its_header_at_once_and_its_steps_one_by_one(tmp_path: Path) -> None:
    source, target = tmp_path / "source.log", tmp_path / "new" / "target.log"
    source.write_bytes(b"header\nmore\nstep 0\nstep 1\n")
    seen: list[bytes] = []
    n = feed.feed(source, target, 4.0, "step ", lambda s: seen.append(target.read_bytes()))
    assert n == 4
    assert seen == [b"header\nmore\n", b"header\nmore\nstep 0\n"]
    assert target.read_bytes() == source.read_bytes()


def test_a_log_that_cannot_be_read_is_named(tmp_path: Path, capsys: Any) -> None:
    assert feed.main([str(tmp_path / "none.log"), str(tmp_path / "target.log")]) == 3
    assert capsys.readouterr().err == f"{tmp_path}/none.log: No such file or directory\n"
