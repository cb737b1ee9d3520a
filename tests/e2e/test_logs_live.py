"""Logs written line by line: what must page does, what is healthy is silent."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from live import Live, iterations
from real import ROOT

pytestmark = pytest.mark.servers
#: Alert/severity that each log must bring, and those that it may: other work on the CPU did slow these runs down.
MUST = {
    "base_train_nan": ("TrainingLossNotFinite/critical",),
    "base_train_slow": ("TrainingSlowdown/critical",),
    "base_train_spike": ("TrainingLossSpike/critical",),
    "chat_sft_exception": ("TrainingRunCrashed/critical",),
}
MAY = {
    "base_train_ok": ("TrainingSlowdown/warning", "TrainingSlowdown/critical"),
    "base_train_mildslow": ("TrainingSlowdown/warning",),
    "base_train_resume": ("TrainingSlowdown/warning",),
    "chat_sft": ("TrainingSlowdown/warning",),
    "base_train_pty": (),
    "base_train_crash": (),
    "base_train_nan": ("TrainingSlowdown/warning", "TrainingLossPlateau/warning", "TrainingLossDiverging/warning"),
    "base_train_slow": ("TrainingSlowdown/warning",),
    "base_train_spike": (
        *("TrainingLossSpike/warning", "TrainingLossDiverging/warning", "TrainingLossDiverging/critical"),
        *("TrainingSlowdown/warning", "TrainingSlowdown/critical"),
    ),
    "chat_sft_exception": (),
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    live = Live(tmp_path_factory.mktemp("logs"))
    try:
        live.start()
        yield live
    finally:
        live.stop()


def log(name: str) -> list[bytes]:
    return (ROOT / f"tests/data/nanochat/{name}.log").read_bytes().splitlines(keepends=True)


def test_real_logs_page_for_what_is_wrong_and_healthy_ones_bring_nothing(live: Live) -> None:
    """All at once. base_train_crash just ends: no anomaly before it has been silent for long."""
    heads = {name: 0 if name == "chat_sft_exception" else 60 for name in MAY}
    for name, head in heads.items():
        if head:
            (live.logs / f"{name}.log").write_bytes(b"".join(log(name)[:head]))
    live.until(f"count(count_over_time(training_run_state{{state='running'}}[5s]) > 1) == {len(heads) - 1}")
    writers = [threading.Thread(target=live.append, args=(name, log(name)[head:])) for name, head in heads.items()]
    for writer in writers:
        writer.start()
    for run, wanted in MUST.items():
        for alert, severity in (w.split("/") for w in wanted):
            live.recorder.wait(alert, run=run, severity=severity)
    for writer in writers:
        writer.join()
    live.until('count(training_run_state{state="finished"} == 1) == 8')
    live.recorder.wait("TrainingLossNotFinite", "resolved", run="base_train_nan")
    live.recorder.wait("TrainingSlowdown", "resolved", run="base_train_slow", severity="critical")
    told = {(p.labels.get("run", ""), f"{p.alert}/{p.severity}") for p in live.recorder.of()}
    assert not [(run, alert) for run, alert in told if alert not in (*MAY.get(run, ()), *MUST.get(run, ()))]
    said = {page.alert: page.annotations["description"] for page in live.recorder.of()}
    assert said["TrainingLossNotFinite"].startswith("Step 91: the loss is NaN, where ")
    assert "the log shows traceback" in said["TrainingRunCrashed"]


def test_the_warning_of_a_run_is_told_and_its_rise_to_critical_pages(live: Live) -> None:
    live.begin("slow", iterations(0, 200))
    slower = [line.replace(b"250.00ms, mfu 40.00%", b"320.00ms, mfu 31.00%") for line in iterations(200, 280)]
    slowest = [line.replace(b"250.00ms, mfu 40.00%", b"600.00ms, mfu 16.00%") for line in iterations(280, 360)]
    live.append("slow", slower)
    page = live.recorder.wait("TrainingMfuDrop", run="slow")
    assert (page.severity, page.receiver) == ("warning", "notify")
    live.append("slow", slowest)
    page = live.recorder.wait("TrainingMfuDrop", run="slow", severity="critical")
    assert page.receiver == "page"
    assert "MFU 16%, where 40% is usual (-60%)" in page.annotations["description"]
