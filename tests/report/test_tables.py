"""The status table, the history of a metric, units and terminals."""

from __future__ import annotations

import io
import math

import pytest

from sample_snapshots import HEALTHY, HOSTILE, SAMPLES
from training_monitor.records import Snapshot
from training_monitor.report import units
from training_monitor.report.history import history
from training_monitor.report.status import shortened, status_table
from training_monitor.report.terminal import Style, clean, style_of


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_status_has_one_line_for_each_run() -> None:
    lines = status_table(list(SAMPLES.values()), Style(width=120)).splitlines()
    assert lines == [
        "RUN           STATE      STEP  DONE    LOSS     MFU  STEP TIME   REMAINING  ISSUES",
        "d20-climbmix  running   8,349  50 %  2.6896  51.1 %     641 ms  1 h 30 min  none",
        "d12-bad-day   running  12,010  60 %  3.6100  28.0 %     12.3 s     1 d 3 h  loss spike +1",
        "d34           crashed   1,500     -     nan       -          -           -  crashed +1",
        "not-yet       waiting       -     -       -       -          -           -  none",
    ]


def test_status_of_no_runs_is_the_heading() -> None:
    assert status_table([]).startswith("RUN")


def test_a_long_run_name_loses_its_middle() -> None:
    assert shortened("a-very-long-name-of-a-run", 11) == "a-ver…a-run"
    long = Snapshot("x" * 300, "log", state="running", step=1)
    assert max(map(len, status_table([long, HEALTHY], Style(width=80)).splitlines())) <= 80


def test_a_narrow_terminal_gets_fewer_columns() -> None:
    heading = status_table([HEALTHY], Style(width=60)).splitlines()[0]
    assert heading.split() == ["RUN", "STATE", "STEP", "DONE", "LOSS", "ISSUES"]


def test_a_hostile_name_keeps_to_its_line() -> None:
    table = status_table([HOSTILE])
    assert len(table.splitlines()) == 2
    assert "\x1b" not in table


def test_history_as_text_csv_and_plot() -> None:
    rows = [(998, 2.5), (999, math.nan), (1000, 2.25)]
    assert history("loss", rows, "text").splitlines() == [" step  loss", "  998  2.5", "  999  nan", "1,000  2.25"]
    assert history("loss", rows, "csv") == "step,loss\n998,2.5\n999,nan\n1000,2.25"
    assert history("loss", rows, "plot").startswith("loss\n")


def test_history_without_values_says_so() -> None:
    assert history("mfu", [], "text") == "mfu: the log has no values"
    assert history("mfu", [], "csv") == "step,mfu"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (45, "45 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (5392, "1 h 30 min"),
        (86400, "1 d"),
        (273600, "3 d 4 h"),
    ],
)
def test_long_times_have_two_units(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.000641, "0.641 ms"), (0.641, "641 ms"), (12.31, "12.3 s"), (142.8, "2 min 23 s")]
)
def test_short_times_have_three_digits(seconds: float, text: str) -> None:
    assert units.seconds(seconds) == text


def test_units_of_nothing_and_of_no_number() -> None:
    shown = (units.count, units.loss, units.rate, units.percent, units.seconds, units.duration, units.money)
    assert {f(None) for f in shown} == {"unknown"}
    assert all(f(math.nan) for f in shown)
    assert units.change(1.0, 0.0) is None
    assert units.change(None, 1.0) is None
    assert units.moment(1e30) == "unknown"


def test_money_changes_its_digits_with_its_size() -> None:
    assert [units.money(v) for v in (0.5, 84.2, 12345.6)] == ["$0.50", "$84.20", "$12,346"]
    assert units.money(10, "EUR") == "10.00 EUR"


def test_unsafe_characters_are_shown_as_escapes() -> None:
    assert clean("a\x1b[31mb\r\n\u202ec\x00") == "a\\x1b[31mb\\r\\n\\u202ec\\x00"
    assert clean("änderung 变化 ∝") == "änderung 变化 ∝"


def test_colours_need_a_terminal_that_wants_them() -> None:
    assert style_of(Terminal(), {}).colour
    assert not style_of(Terminal(), {"NO_COLOR": "1"}).colour
    assert not style_of(Terminal(), {"TERM": "dumb"}).colour
    assert not style_of(io.StringIO(), {}).colour


def test_a_stream_without_unicode_gets_ascii() -> None:
    ascii_stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert not style_of(ascii_stream, {}).unicode
