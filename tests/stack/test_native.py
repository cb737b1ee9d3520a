"""The stack without Docker: from the shipped files, with real servers, to a page on the terminal."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from real import ROOT, load
from servers import server

native = load("stack/native.py")


def test_a_port_in_use_is_named_with_the_variable_that_moves_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = native.Ports.free()
        ports.prometheus = taken.getsockname()[1]
        with pytest.raises(native.StackError) as e:
            ports.check()
    expected = f"port {ports.prometheus} for prometheus is in use: stop what uses it, or set PROMETHEUS_PORT"
    assert str(e.value) == expected


def test_settings_come_from_the_file_that_docker_compose_reads_and_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# PROMETHEUS_PORT=1\nPROMETHEUS_PORT=9999\nEXPORTER_PORT='7'\nTRAINING_LOGS = /data\n"
    )
    settings = native.chosen_settings({"EXPORTER_PORT": "8"}, tmp_path / ".env")
    assert native.Ports.chosen(settings) == native.Ports(prometheus=9999, exporter=8)
    assert settings["TRAINING_LOGS"] == "/data"
    assert native.Ports.chosen(native.chosen_settings({}, tmp_path / "none")) == native.Ports()


@pytest.mark.parametrize("value", ["http", "0", "65536", "-1", ""])
def test_what_is_no_port_is_named(value: str) -> None:
    with pytest.raises(native.StackError, match=f"PROMETHEUS_PORT: '{value}' is not a port"):
        native.Ports.chosen({"PROMETHEUS_PORT": value})


def test_a_service_that_ends_shows_its_last_words(tmp_path: Path) -> None:
    code = "import sys; print('no such option'); sys.exit(2)"
    service = native.Service("prometheus", [sys.executable, "-c", code], "http://127.0.0.1:9/", tmp_path / "x.log")
    service.start()
    with pytest.raises(native.StackError, match="prometheus ended with 2; its last lines:\nno such option"):
        service.wait(time.monotonic() + 20)


def test_a_missing_template_of_debians_alertmanager_has_its_fix_named(tmp_path: Path) -> None:
    code = "import sys; sys.exit('failed to parse templates: open /usr/share/prometheus/alertmanager/default.tmpl')"
    service = native.Service("alertmanager", [sys.executable, "-c", code], "http://127.0.0.1:9/", tmp_path / "x.log")
    service.start()
    with pytest.raises(native.NoServersError, match="run stack/fetch"):
        service.wait(time.monotonic() + 20)


@pytest.mark.servers
def test_the_demo_ends_in_a_page_on_the_terminal() -> None:
    server("prometheus"), server("alertmanager")
    command = [sys.executable, ROOT / "stack/native.py", "--demo"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✖ CRITICAL  MFU drop in run base_train_slow  (TrainingMfuDrop, since " in done.stdout
    assert "\n  Step 22" in done.stdout


def test_without_servers_the_demo_shows_what_would_have_paged(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def nowhere() -> None:
        raise native.NoServersError("Prometheus and Alertmanager are not on PATH")

    monkeypatch.setattr(native, "find_programs", nowhere)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert native.main(["--demo"]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    said = capfd.readouterr().out
    assert said.startswith("Prometheus and Alertmanager are not on PATH\n")
    assert "step 228        CRITICAL  mfu_drop" in said


@pytest.mark.servers
def test_ctrl_c_stops_everything(tmp_path: Path) -> None:
    server("prometheus"), server("alertmanager")
    ports = native.Ports.free()
    names = {f"{name.upper()}_PORT": str(port) for name, port in vars(ports).items()}
    command = [sys.executable, ROOT / "stack/native.py", "--dir", tmp_path / "stack", tmp_path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **names})
    assert process.stdout is not None
    said: list[Any] = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("Ctrl-C"):
            break
    assert f"prometheus    http://localhost:{ports.prometheus}/alerts\n" in said
    assert any("slack: not configured" in line for line in said)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    process.stdout.close()
    ports.check()
