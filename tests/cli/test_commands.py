"""The command line as a user meets it: answers, exit codes, and a sentence for every mistake."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLOW = ROOT / "examples" / "nanochat" / "base_train_slow.log"
COMMAND = [sys.executable, "-m", "training_monitor"]


def run(*args: str | Path, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, args)], capture_output=True, text=True, check=False, timeout=60, **more)


def error(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed command said: one message, never a traceback."""
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr.removeprefix("training-monitor: ").strip()


def test_the_report_of_a_finished_run_is_right_in_every_form():
    report = json.loads(run("report", SLOW, "--format", "json").stdout)
    assert (report["state"], report["step"], report["steps_seen"], report["loss"]) == ("finished", 899, 900, 5.120742)
    text, markdown = run("report", SLOW).stdout, run("report", SLOW, "--format", "markdown").stdout
    for heading in ("Current Status", "Trends", "Estimates", "Issues Detected", "Recommendations"):
        assert heading in text
        assert f"## {heading}" in markdown
    assert run("report", SLOW, "--format", "html").stdout.startswith("<!doctype html>")


def test_the_report_of_a_run_half_way_tells_when_it_ends(tmp_path):
    lines = SLOW.read_bytes().splitlines(keepends=True)
    spent = [float(m[1]) / 1000 for line in lines if (m := re.search(rb"dt: ([\d.]+)ms", line))]
    half = next(i for i, line in enumerate(lines) if line.startswith(b"step 00700/"))
    (tmp_path / "half.log").write_bytes(b"".join(lines[: half + 1]))
    report = json.loads(run("report", tmp_path / "half.log", "--format", "json").stdout)
    assert report["state"] == "running"
    assert report["eta_seconds"] == pytest.approx(sum(spent[701:]), rel=0.05)
    assert report["progress_ratio"] == pytest.approx(701 / 900, abs=0.002)


def test_replay_tells_both_slow_phases_and_fails_on_request():
    done = run("replay", SLOW, "--output", "jsonl", "--fail-on", "critical")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    pages = [e for e in events if e["severity"] != "notice"]
    assert done.returncode == 1
    assert {e["type"] for e in pages} == {"slowdown"}
    assert any(223 <= e["step"] <= 260 for e in pages)
    assert any(360 <= e["step"] <= 380 for e in pages)
    assert set(events[0]) == {"run", "step", "type", "severity", "value", "expected", "message"}
    assert run("replay", SLOW).returncode == 0


def test_a_baseline_is_compared_at_the_same_step():
    report = json.loads(run("report", SLOW, "--baseline", SLOW, "--format", "json").stdout)
    assert report["baseline"]["loss"]["this"] == report["baseline"]["loss"]["baseline"]


def test_history_gives_the_last_values_as_csv_and_as_a_plot():
    rows = run("history", SLOW, "--metric", "step_time", "--last", "3", "--format", "csv").stdout.splitlines()
    assert rows[0] == "step,step_time"
    assert [row.split(",")[0] for row in rows[1:]] == ["897", "898", "899"]
    assert len(run("history", SLOW, "--last", "500", "--format", "plot").stdout.splitlines()) > 5


def test_a_mistyped_metric_is_answered_with_what_was_meant():
    done = run("history", SLOW, "--metric", "los")
    assert error(done).startswith("--metric los: unknown metric, did you mean loss?; known: loss, raw_loss, mfu,")
    assert done.returncode == 2


def test_status_shows_a_line_for_each_run_and_says_what_was_found():
    done = run("status", SLOW.parent)
    assert "base_train_slow" in done.stdout
    assert "1 log" in done.stderr


def test_status_leaves_the_state_of_the_exporter_alone(tmp_path):
    (tmp_path / "exporter.yml").write_text(f"state: {{dir: {tmp_path}/state}}")
    run("status", SLOW, "--config.file", tmp_path / "exporter.yml")
    assert not (tmp_path / "state").exists()


def test_with_nothing_named_the_usual_places_are_searched(tmp_path):
    done = run("status", cwd=tmp_path)
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1
    (tmp_path / "train.log").write_bytes(SLOW.read_bytes())
    assert "train" in run("status", cwd=tmp_path).stdout


def test_the_format_can_be_named_instead_of_detected(tmp_path):
    (tmp_path / "x.log").write_text("step 1 | loss: 3.0\nstep 2 | loss: 2.9\n")
    report = json.loads(run("report", tmp_path / "x.log", "--log.parser", "key-value", "--format", "json").stdout)
    assert (report["format"], report["step"]) == ("key-value", 2)
    done = run("report", tmp_path / "x.log", "--log.parser", "nanochatt")
    assert "'nanochatt' is no format" in error(done)
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty", b""),
        ("no steps", b"hello\nworld\n" * 50),
        ("binary", bytes(range(256)) * 200),
        ("source code", b'print(f"step {step:05d}/{n} | loss: {loss:.6f}")\n' * 20),
        ("one long line", b"x" * 5_000_000),
        ("nonsense values", b"step 1 | loss: nan\nstep 2 | loss: inf | mfu: -100.00%\nstep 3 | loss: N/A | mfu: N/A\n"),
        ("cut off", b"step 1 | loss: 3.2\nstep 2 | lo"),
    ],
)
def test_any_file_is_reported_without_a_traceback(tmp_path, name, content):
    log = tmp_path / "train.log"
    log.write_bytes(content)
    for form in ("text", "json", "markdown", "html"):
        done = run("report", log, "--format", form)
        assert (done.returncode, done.stderr) == (0, ""), name
    assert run("replay", log).returncode == 0


def test_what_is_no_log_is_said_in_one_sentence(tmp_path):
    os.mkfifo(tmp_path / "pipe.log")
    (tmp_path / "empty").mkdir()
    for path, words in (
        (tmp_path / "absent.log", "does not exist"),
        (tmp_path / "empty", "no log"),
        (tmp_path / "pipe.log", "pipe"),
    ):
        done = run("report", path)
        assert words in error(done)
        assert done.returncode == 3


def test_every_mistake_of_a_configuration_is_said_at_once():
    bad = ROOT / "tests" / "config" / "bad" / "five_mistakes.yml"
    done = run("check-config", bad)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 5
    assert run("check-config", ROOT / "exporter" / "exporter.yml").returncode == 0


def test_formats_lists_every_one_with_a_line():
    listed = run("formats").stdout
    for name in ("nanochat:", "hf-trainer:", "megatron:", "wandb:", "key-value:"):
        assert name in listed


def test_a_reader_that_goes_away_is_no_error():
    done = subprocess.run(
        f"{' '.join(COMMAND)} history {SLOW} --last 900 --format csv | head -2",
        shell=True, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""


def test_escape_codes_in_a_log_do_not_reach_the_terminal(tmp_path):
    (tmp_path / "train.log").write_text(
        "step 1 | loss: 3.0\nTraceback (most recent call last):\nValueError: \x1b[31mred\x1b]0;title\x07 \x9b31m\n"
    )
    for form in ("text", "markdown", "html"):
        out = run("report", tmp_path / "train.log", "--format", form).stdout
        assert "ValueError" in out
        assert not re.search(r"[\x1b\x07\x9b]", out)


def test_json_is_valid_and_safe_on_a_terminal_whatever_the_name_of_the_log(tmp_path):
    path = os.fsencode(tmp_path) + "/\u202e\x9b31m".encode() + b"\xff.log"
    with open(path, "wb") as file:
        file.write(b"iter 1: loss nan, time 250.00ms, mfu 40.00%\n")
    for command in (["report", path, "--format", "json"], ["replay", path, "--output", "jsonl"]):
        out = subprocess.run([*COMMAND, *command], capture_output=True, check=True).stdout.decode()
        assert json.loads(out)["run"] == "\u202e\x9b31m\udcff"
        assert out.replace("\n", "").isprintable()


def serve(*args: str | Path) -> tuple[subprocess.Popen[str], str, list[str]]:
    """A server, its URL, and what it said until it listened."""
    process = subprocess.Popen(
        [*COMMAND, "serve", *map(str, args), "--web.listen-address", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True
    )
    said: list[str] = []
    assert process.stderr is not None
    while not said or "address=" not in said[-1]:
        said.append(process.stderr.readline())
        assert said[-1], said
    return process, re.search(r"address=(\S+)", said[-1])[1], said  # type: ignore[index]


def metrics(url: str) -> str:
    """The metrics, once the first catch-up is done."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            return urllib.request.urlopen(f"{url}/metrics", timeout=10).read().decode()
        except urllib.error.HTTPError as e:
            if e.code != 503:
                raise
    raise AssertionError("never ready")


def test_serve_shows_the_run_and_ends_on_sigterm(tmp_path):
    process, url, _ = serve(SLOW, "--state.dir", tmp_path / "state")
    try:
        text = metrics(url)
        assert 'training_loss{run="base_train_slow"} 5.120742' in text
        assert urllib.request.urlopen(f"{url}/-/healthy", timeout=10).status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "msg=stopped" in rest
    assert len(list((tmp_path / "state").iterdir())) == 1


def test_a_port_in_use_is_said_plainly():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", SLOW, "--web.listen-address", f"127.0.0.1:{port}")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert str(port) in done.stderr
    assert "in use" in done.stderr


def test_progress_of_a_long_log_is_shown_on_a_terminal(tmp_path):
    """Reading is slow enough to be told about: the line appears on a terminal and is gone at the end."""
    line = (
        b"step %07d/9999999 (1.00%%) | loss: 3.000000 | lrm: 1.00 | dt: 100.00ms | tok/sec: 1,000 | mfu: 10.00 | "
        b"total time: 1.00m\n"
    )
    (tmp_path / "long.log").write_bytes(b"".join(line % i for i in range(150_000)))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "replay", str(tmp_path / "long.log")], stdout=subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(60) == 0
    assert b"reading long.log" in shown
    assert shown.endswith(b"\r\x1b[K")
