import json
import logging
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import needs
from training_monitor.clock import SystemClock
from training_monitor.parse.rows import RowReader
from training_monitor.records import Facts, Failure, Finish, Record, Start, Step, Validation
from training_monitor.tail import graphql
from training_monitor.tail.background import Background
from training_monitor.tail.wandb_address import Address, address
from training_monitor.tail.wandb_cloud import CATCH_UP_S, ENDED_POLL_S, PAGE, POLL_S, WandbCloud
from wandb_stub import KEY, Fault, Stub


@pytest.fixture
def stub() -> Iterator[Stub]:
    server = Stub()
    yield server
    server.close()


def reader(stub: Stub, run: str = "abc", **env: str) -> WandbCloud:
    env = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": stub.url, "HOME": "/nonexistent", **env}
    return WandbCloud(address(f"me/llm/{run}", env), RowReader, env=env, chance=random.Random(1))


def of(kind: type, records: list[Record]) -> list:
    return [r for r in records if type(r) is kind]


def read_all(source: WandbCloud) -> list[Record]:
    """Polls until the end has been reached."""
    records = source.poll(0.0)
    while not source.caught_up:
        assert source.problem is None, source.problem
        assert source.next_poll_s == CATCH_UP_S
        records += source.poll(0.0)
    return records


def rows(steps: Any) -> list[dict[str, Any]]:
    return [{"_step": s, "_timestamp": 1_795_371_000.5 + s, "train/loss": 1 / (s + 1)} for s in steps]


def test_the_complete_history_is_read_and_then_only_what_is_new(stub: Stub) -> None:
    run = stub.run("abc")
    run.config = '{"max_steps": {"value": 9000, "desc": null}, "_wandb": {"value": {}}}'
    run.log(*rows(range(2500)))
    source = reader(stub)
    records = read_all(source)
    assert records[0] == Start(1795370710.0)
    assert records[1] == Facts(format="wandb", run_id="abc", name="abc shown", total_steps=9000, flush_s=45.0)
    assert [s.step for s in of(Step, records)] == list(range(2500))
    assert of(Step, records)[1] == Step(1, loss=0.5, time=1795371001.5)
    run.log(*rows(range(2500, 2510)))
    stub.requests.clear()
    assert [s.step for s in source.poll(1.0)] == list(range(2500, 2510))
    assert [q["variables"]["minStep"] for q in stub.requests] == [2500]
    assert source.poll(2.0) == []
    assert POLL_S <= source.next_poll_s <= 1.25 * POLL_S


def test_no_window_is_ever_so_wide_that_rows_are_thinned_out(stub: Stub) -> None:
    steps = [*range(0, 900_000, 1000), *range(900_000, 903_000), *range(10_000_000, 10_000_040, 2), 2_000_000_000]
    stub.run("abc").log(*rows(steps))
    assert [s.step for s in of(Step, read_all(reader(stub)))] == steps
    assert len(stub.requests) < 60


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.integers(1, 20_000)), max_size=12))
def test_any_spread_of_steps_is_read_completely(parts: list[tuple[int, int]]) -> None:
    steps, at = [], 0
    for n, stride in parts:
        steps += range(at, at + n * stride, stride)
        at += n * stride
    stub = Stub()
    try:
        stub.run("abc").log(*rows(steps))
        assert [s.step for s in of(Step, read_all(reader(stub)))] == steps
    finally:
        stub.close()


def test_a_run_without_rows_yet_is_waited_for(stub: Stub) -> None:
    stub.run("abc")
    source = reader(stub)
    assert [type(r) for r in source.poll(0.0)] == [Start, Facts]
    stub.run("abc").log(*rows([0]))
    assert [type(r) for r in source.poll(1.0)] == [Step]


def test_nan_is_read_in_both_of_its_forms_and_rows_may_be_nested(stub: Stub) -> None:
    stub.run("abc").history += [
        '{"_step": 0, "loss": NaN}',
        '{"_step": 1, "train": {"loss": "NaN", "grad_norm": "Infinity"}}',
        '{"_step": 2, "val/loss": 2.5}',
    ]
    records = reader(stub).poll(0.0)
    assert repr([(s.loss, s.grad_norm) for s in of(Step, records)]) == "[(nan, None), (nan, inf)]"
    assert of(Validation, records) == [Validation("loss", 2.5, 2)]


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("finished", Finish(1795370940.0)),
        ("failed", Failure("run_failed", "W&B says that the run failed (exit code above 0)", time=1795370940.0)),
        (
            "crashed",
            Failure("run_crashed", "W&B says that the run crashed (its heartbeats stopped)", time=1795370940.0),
        ),
        ("killed", Failure("run_killed", "W&B says that the run was killed", time=1795370940.0)),
    ],
)
def test_the_end_of_a_run_is_told_once_and_after_its_rows(stub: Stub, state: str, told: Record) -> None:
    run = stub.run("abc")
    source = reader(stub)
    source.poll(0.0)
    run.log(*rows([0]))
    run.state = state
    records = source.poll(1.0)
    assert [type(r) for r in records] == [Step, type(told)]
    assert records[1] == told
    assert source.next_poll_s >= ENDED_POLL_S
    assert source.poll(2.0) == []
    run.state = "running"
    assert source.poll(3.0) == [Start()]


def test_an_unknown_state_is_no_end(stub: Stub) -> None:
    stub.run("abc").state = "contemplating"
    source = reader(stub)
    source.poll(0.0)
    assert source.status("r").up
    assert source.next_poll_s < ENDED_POLL_S


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(401), "refuses the key (401); check WANDB_API_KEY"),
        (Fault(403), "refuses the key (403)"),
        (Fault(404), "has no W&B API there (404); check WANDB_BASE_URL"),
        (Fault(429), "too many requests (429)"),
        (Fault(500), "has a problem of its own (500)"),
        (Fault(502, b"<html>"), "has a problem of its own (502)"),
        (Fault(200, b"<html><title>Log in</title></html>"), "not JSON, as a proxy's login page"),
        (Fault(200, b"[1, 2]"), "no GraphQL answer"),
        (Fault(200, b'{"errors": [{"message": "query \\u001b[31mtoo complex"}]}'), "reports: query  [31mtoo complex"),
        (Fault(200, b'{"data": {"project": {"run": null}}}'), "is not found on"),
        (Fault(200, b'{"data": {"project": null}}'), "is not found on"),
        (Fault(200, b'{"data": null}'), "is not found on"),
        (Fault(200, b"{" * 100_000), "not JSON"),
        (
            Fault(302, headers={"Location": "https://evil.example/graphql"}),
            "redirects to evil.example, where the key is not",
        ),
        (
            Fault(307, headers={"Location": "http://127.0.0.1:1/graphql"}),
            "redirects to 127.0.0.1:1, where the key is not",
        ),
        (Fault(302), "has a problem of its own (302)"),
    ],
)
def test_a_fault_is_said_survived_and_followed_by_the_rows(stub: Stub, fault: Fault, says: str) -> None:
    stub.run("abc").log(*rows(range(3)))
    stub.faults.append(fault)
    source = reader(stub)
    assert source.poll(0.0) == []
    assert says in str(source.problem)
    assert not source.status("r").up
    assert len(of(Step, source.poll(1.0))) == 3
    assert source.problem is None
    assert source.status("r").parse_errors == {"refused": 1}


def test_a_redirect_on_the_same_host_is_followed(stub: Stub) -> None:
    stub.run("abc").log(*rows(range(3)))
    stub.faults.append(Fault(308, headers={"Location": "/graphql?moved"}))
    assert len(of(Step, reader(stub).poll(0.0))) == 3
    stub.faults.extend(Fault(308, headers={"Location": "/graphql"}) for _ in range(9))
    source = reader(stub)
    source.poll(0.0)
    assert "redirects in a circle" in str(source.problem)


def test_a_server_that_hangs_is_left_alone(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphql, "READ_S", 0.05)
    stub.run("abc")
    stub.faults.append(Fault(hang_s=0.5))
    source = reader(stub)
    source.poll(0.0)
    assert "did not answer within" in str(source.problem)


def test_an_answer_without_end_is_given_up(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    stub.run("abc").log(*rows(range(900)))
    source = reader(stub)
    monkeypatch.setattr(graphql, "MAX_ANSWER", 10_000)
    source.poll(0.0)
    assert "more than" in str(source.problem)
    monkeypatch.setattr(graphql, "MAX_ANSWER", 1 << 20)
    monkeypatch.setattr(graphql, "TOTAL_S", -1.0)
    source.poll(0.0)
    assert "did not finish its answer" in str(source.problem)


def test_a_server_that_is_not_there_is_said() -> None:
    source = WandbCloud(Address("http://127.0.0.1:9", "me", "llm", "abc"), RowReader, env={"WANDB_API_KEY": KEY})
    assert source.poll(0.0) == []
    assert source.problem == "127.0.0.1:9 cannot be reached (ConnectionError)"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "120"}, 120),
        ({"RateLimit-Reset": "77"}, 77),
        ({"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}, 3600),
        ({"Retry-After": "soon"}, 30),
        ({"Retry-After": "-5"}, 30),
        ({}, 30),
    ],
)
def test_a_server_that_asks_to_wait_is_obeyed_with_jitter(stub: Stub, headers: dict[str, str], seconds: float) -> None:
    stub.run("abc")
    stub.faults.append(Fault(429, headers=headers))
    source = reader(stub)
    source.poll(0.0)
    assert seconds <= source.next_poll_s <= 1.25 * seconds
    assert source.next_poll_s != seconds


def test_faults_in_a_row_are_met_with_ever_longer_waits(stub: Stub) -> None:
    stub.run("abc")
    stub.faults.extend(Fault(500) for _ in range(8))
    source = reader(stub)
    waits = []
    for _ in range(8):
        source.poll(0.0)
        waits.append(source.next_poll_s)
    assert all(30 * 2**i <= wait <= 1.25 * 30 * 2**i for i, wait in enumerate(waits[:5]))
    assert all(900 <= wait <= 1.25 * 900 for wait in waits[5:])
    source.poll(0.0)
    assert source.next_poll_s <= 1.25 * POLL_S


def test_bad_rows_are_counted_and_survived(stub: Stub) -> None:
    stub.run("abc").log(*rows(range(3)))
    history = ['{"_step": 0, "loss": 1.0}', "{oops", '"text"', "{}", '{"_step": "one"}', '{"_step": 1, "loss": 0.5}']
    keys = {"lastStep": 1}
    body = {"data": {"project": {"run": {"state": "running", "historyKeys": json.dumps(keys), "history": history}}}}
    stub.faults.append(Fault(body=json.dumps(body).encode()))
    source = reader(stub)
    assert [s.step for s in of(Step, source.poll(0.0))] == [0, 1]
    assert source.status("r").parse_errors == {"bad_row": 3}


NAMES = st.sampled_from(
    ["run", "project", "history", "historyKeys", "state", "config", "heartbeatAt", "lastStep", "_step"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@settings(max_examples=50, deadline=None)
@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner)))
def test_any_answer_raises_nothing(data: object) -> None:
    answers = [{"project": {"run": data}}, {"project": data}, {"project": {"run": {"history": data, "config": data}}}]
    for answer in answers:
        source = WandbCloud(Address("http://x", "e", "p", "r"), RowReader, env={}, post=lambda *_, a=answer: a)
        source.poll(0.0)


def test_reading_goes_on_after_a_restart(stub: Stub) -> None:
    run = stub.run("abc")
    run.log(*rows(range(10)))
    first = reader(stub)
    first.poll(0.0)
    run.log(*rows(range(10, 12)))
    run.state = "finished"
    second = reader(stub)
    second.restore(json.loads(json.dumps(first.state())))
    records = second.poll(1.0)
    assert [type(r) for r in records] == [Facts, Step, Step, Finish]
    for state in ({}, {**first.state(), "rows": {}}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            reader(stub).restore(state)


def test_the_key_is_sent_to_its_host_and_shown_nowhere(stub: Stub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    stub.run("abc").log(*rows(range(3)))
    source = reader(stub)
    stub.faults.extend([Fault(401), Fault(302, headers={"Location": "https://evil.example/"}), Fault(500)])
    shown = []
    for _ in range(4):
        source.poll(0.0)
        shown += [source.problem, source.status("r"), source.state(), source.source, vars(source)["_run"]]
    assert stub.requests[-1]["headers"]["Authorization"].startswith("Basic ")
    assert KEY not in repr(shown) + caplog.text


def test_without_a_key_the_user_learns_where_to_put_it(stub: Stub, tmp_path: Path) -> None:
    source = reader(stub, "gone", WANDB_API_KEY="", HOME=str(tmp_path))
    stub.faults.append(Fault(200, b'{"data": {"project": null}}'))
    source.poll(0.0)
    assert "private: set WANDB_API_KEY or run `wandb login`" in str(source.problem)
    assert "Authorization" not in stub.requests[0]["headers"]


def test_requests_sends_no_key_of_its_own_from_netrc(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("default login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    reader(stub, WANDB_API_KEY="", HOME=str(tmp_path)).poll(0.0)
    assert "Authorization" not in stub.requests[0]["headers"]


def test_a_slow_server_holds_nobody_up(stub: Stub) -> None:
    run = stub.run("abc")
    run.log(*rows(range(3 * PAGE)))
    news = []
    source = Background(reader(stub), SystemClock(), on_news=lambda: news.append(1))
    before = source.state()
    records = poll_until(source, lambda found: len(of(Step, found)) == 3 * PAGE)
    assert [s.step for s in of(Step, records)] == list(range(3 * PAGE))
    assert source.state() != before
    assert source.status("r").run == "r"
    assert source.caught_up
    assert news
    source.close()


def test_an_error_inside_the_thread_is_logged_and_not_the_end(caplog: pytest.LogCaptureFixture) -> None:
    source = WandbCloud(Address("http://x", "e", "p", "r"), RowReader, env={}, post=lambda *_: 1 / 0)  # type: ignore[arg-type,return-value]
    background = Background(source, SystemClock())
    deadline = time.monotonic() + 10
    while "reading failed" not in caplog.text:
        assert background.poll(0.0) == []
        assert time.monotonic() < deadline
    assert "ZeroDivisionError" in caplog.text
    background.close()


TRAIN = """
import sys, wandb
run = wandb.init(project="llm", entity="me", id="real", config={"max_steps": 60},
                 settings=wandb.Settings(x_file_stream_transmit_interval=1))
for i in range(60):
    run.log({"train/loss": float("nan") if i == 7 else 3 - i / 100, "train": {"grad_norm": 1.5}, "lr": 1e-4})
    if i == 29:
        print("half", flush=True)
        sys.stdin.readline()
sys.exit(int(sys.argv[1]))
"""
READ = """
import json, wandb
run = wandb.Api(timeout=30).run("me/llm/real")
print(json.dumps([len(list(run.scan_history())), run.state]))
"""


@pytest.mark.parametrize(("code", "end"), [(0, Finish), (3, Failure)])
def test_the_real_client_writes_what_we_read_and_reads_the_same(
    stub: Stub, tmp_path: Path, code: int, end: type
) -> None:
    needs.package("wandb")
    env = {
        **os.environ,
        "WANDB_BASE_URL": stub.url,
        "WANDB_API_KEY": KEY,
        "HOME": str(tmp_path),
        "WANDB_SILENT": "true",
    }
    pipe = subprocess.PIPE
    writer = subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(code)], env=env, cwd=tmp_path, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    source = reader(stub, "real")
    try:
        assert writer.stdout
        assert writer.stdout.readline() == "half\n"
        records = poll_until(source, lambda found: len(of(Step, found)) >= 30)
        assert source.status("r").up
        _, errors = writer.communicate("\n", timeout=60)
        assert writer.returncode == code, errors
    finally:
        writer.kill()
        writer.communicate()
    records += poll_until(source, lambda found: bool(of(end, found)))
    assert [s.step for s in of(Step, records)] == list(range(60))
    assert math.isnan(of(Step, records)[7].loss)
    assert {s.grad_norm for s in of(Step, records)} == {1.5}
    assert of(Facts, records)[0].total_steps == 60
    assert not stub.unknown
    if code == 0:
        read = subprocess.run([sys.executable, "-c", READ], env=env, cwd=tmp_path, stdout=pipe, timeout=90, check=True)
        assert json.loads(read.stdout.splitlines()[-1]) == [60, "finished"]


def poll_until(source: WandbCloud | Background, found) -> list[Record]:  # type: ignore[no-untyped-def]
    deadline, records = time.monotonic() + 60, []
    while not found(records):
        assert time.monotonic() < deadline, (source.problem, len(records))
        records += source.poll(0.0)
        time.sleep(0.02)
    return records
