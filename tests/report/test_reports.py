"""Reports as people see them. REWRITE_GOLDENS=1 writes the files in data/ anew: read the difference first."""

from __future__ import annotations

import json
import os
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sample_snapshots import EVIL, HEALTHY, HOSTILE, SAMPLES, TROUBLED
from training_monitor.records import STATES, Event, Severity, Snapshot
from training_monitor.report import REPORTS
from training_monitor.report.markdown import markdown_report
from training_monitor.report.recommend import ALL_WELL, recommendations
from training_monitor.report.terminal import Style
from training_monitor.report.text import event_line, text_report

DATA = Path(__file__).parent / "data"
SUFFIX = {"text": "txt", "markdown": "md", "json": "json", "html": "html"}


@pytest.mark.parametrize("form", sorted(SUFFIX))
@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_report_reads_as_agreed(name: str, form: str) -> None:
    golden = DATA / f"{name}.{SUFFIX[form]}"
    found = REPORTS[form](SAMPLES[name]) + "\n"
    if os.environ.get("REWRITE_GOLDENS"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")


def test_every_report_has_the_sections_of_the_sketch_in_their_order() -> None:
    text = markdown_report(HEALTHY)
    titles = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert titles == ["Current Status", "Trends", "Estimates", "Issues Detected", "Recommendations"]


def test_a_run_without_issues_is_told_so() -> None:
    assert "Training proceeding normally." in text_report(HEALTHY)
    assert recommendations(HEALTHY) == ["Training proceeding normally."]


@pytest.mark.parametrize("state", STATES)
def test_every_state_without_issues_has_its_sentence(state: str) -> None:
    assert recommendations(Snapshot("run", "log", state=state)) == [ALL_WELL[state]]  # type: ignore[arg-type, index]


def test_a_notice_is_no_issue() -> None:
    notice = Event(7, "loss_spike", Severity.NOTICE, 2.0, 1.0, "one odd step")
    snapshot = Snapshot("run", "log", state="running", step=9, events=(notice,))
    assert recommendations(snapshot) == ["Training proceeding normally."]
    assert "For information only: loss spike" in text_report(snapshot)


def test_what_is_open_is_recommended_first() -> None:
    text = text_report(TROUBLED)
    assert text.index("Loss spike, step 12,004") < text.index("Training slowed down, step 11,800")


def test_unknown_is_shown_as_unknown_and_never_as_zero() -> None:
    text = text_report(Snapshot("run", "log", state="running", step=5, first_step=0))
    for label in ("Loss", "Learning rate", "MFU", "Step time", "Throughput", "Time remaining", "Cost"):
        line = next(line for line in text.splitlines() if line.startswith(f"  {label}"))
        assert "unknown" in line
        assert "0" not in line


def test_tokens_of_one_device_are_those_of_the_job_where_its_size_is_known() -> None:
    report = json.loads(REPORTS["json"](SAMPLES["crashed"]))
    assert report["tokens_per_second"] == 8 * 11_399
    assert report["tokens_per_second_scope"] == "global"


def test_numbers_that_are_none_are_strings_in_valid_json() -> None:
    report = json.loads(REPORTS["json"](HOSTILE), parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))
    assert report["validation"]["value"] == "inf"
    assert report["anomalies"][0]["value"] == "-inf"
    assert report["anomalies"][0]["expected"] == "nan"


def test_an_event_is_one_line() -> None:
    assert event_line(TROUBLED.events[3]) == (
        "step 12,004     CRITICAL  loss_spike       loss 5.9 at step 12004 is 2.03x its recent level 2.9"
    )


def test_colours_appear_only_where_asked_for() -> None:
    assert "\x1b" not in text_report(TROUBLED)
    assert "\x1b[1;31m" in text_report(TROUBLED, Style(colour=True))


@pytest.mark.parametrize("snapshot", SAMPLES.values(), ids=SAMPLES.keys())
def test_a_terminal_that_knows_only_ascii_gets_only_ascii(snapshot: Snapshot) -> None:
    assert text_report(snapshot, Style(unicode=False)).isascii()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_lines_fit_the_terminal(width: int) -> None:
    assert max(map(len, text_report(TROUBLED, Style(width=width)).splitlines())) <= max(width, 58)


# -- hostile text -----------------------------------------------------------------------------------------------------


def visible(text: str) -> bool:
    return all(c == "\n" or c.isprintable() for c in text)


def test_log_text_cannot_reach_the_terminal_as_control_characters() -> None:
    assert visible(text_report(HOSTILE))
    assert visible(event_line(HOSTILE.events[0]))


def test_log_text_cannot_become_markdown() -> None:
    text = markdown_report(HOSTILE)
    assert visible(text)
    assert "<script>" not in text
    assert "](" not in text.replace("\\](", "")
    assert not any(line.startswith("# f") for line in text.splitlines())


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag not in ("meta", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "polyline":
            assert self.open.pop() == tag


@pytest.mark.parametrize("snapshot", [*SAMPLES.values(), HOSTILE], ids=[*SAMPLES, "hostile"])
def test_the_page_is_well_formed_and_loads_nothing(snapshot: Snapshot) -> None:
    page = REPORTS["html"](snapshot)
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    assert not tags.seen & {"script", "link", "img", "iframe", "a"}
    assert "http" not in page


@given(st.text(max_size=60))
def test_no_text_breaks_any_report(text: str) -> None:
    event = Event(3, text, Severity.WARNING, 1.0, 2.0, text)
    snapshot = Snapshot(text, text, state="running", step=3, events=(event,), active={text: Severity.WARNING})
    assert visible(text_report(snapshot))
    json.loads(REPORTS["json"](snapshot))
    tags = Tags()
    tags.feed(REPORTS["html"](snapshot))
    assert not tags.seen & {"script"}


def test_the_hostile_text_is_hostile() -> None:
    assert not visible(EVIL)
