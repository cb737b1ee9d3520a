"""Silence that is no stall, and silence that is one."""

from __future__ import annotations

import pytest

from curves import curve
from training_monitor.detect.engine import Engine
from training_monitor.records import Facts, Failure, Severity, Step

LINE = 160


class Writer:
    """A run whose lines arrive at an engine."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.now = 1_700_000_000.0
        self.step = 0

    def lines(self, n: int, seconds: float) -> None:
        """`n` lines in one arrival, the steps in them took `seconds` each."""
        self.engine.heard(self.now, n * LINE)
        self.engine.update([Step(self.step + i, 3.0, step_time_s=seconds) for i in range(n)])
        self.step += n

    def runs(self, seconds: float, step_s: float = 1.0, lines: int = 1) -> None:
        """Writes for so long, `lines` at a time, and is asked every ten seconds; nothing may be raised."""
        end = self.now + seconds
        while self.now < end:
            self.now += step_s * lines
            self.lines(lines, step_s)
            assert self.engine.tick(self.now) == []

    def silence(self, seconds: float) -> list[tuple[float, str]]:
        """When, in seconds of silence, and how badly a stall is raised."""
        start, raised = self.now, []
        while self.now < start + seconds:
            self.now += 10
            raised += [(self.now - start, e.severity.label) for e in self.engine.tick(self.now)]
        return raised


def test_a_run_with_steady_lines_stalls_after_five_minutes_and_critically_after_ten() -> None:
    writer = Writer()
    writer.runs(4000)
    assert writer.silence(1000) == [(310, "warning"), (610, "critical")]
    assert writer.engine.active() == {"stalled": Severity.CRITICAL}


def test_a_young_run_may_be_silent_for_its_first_evaluation() -> None:
    writer = Writer()
    writer.runs(100)
    assert writer.silence(590) == []


def test_steps_close_a_stall() -> None:
    writer = Writer()
    writer.runs(4000)
    writer.silence(500)
    writer.lines(1, 1.0)
    assert writer.engine.active() == {}


def test_evaluations_and_checkpoints_are_part_of_the_rhythm() -> None:
    writer = Writer()
    for _ in range(6):
        writer.runs(2000)
        writer.now += 550
    writer.runs(100)
    assert writer.silence(2500) == []
    assert writer.silence(500)[0][1] == "warning"


def test_blocks_of_a_buffered_pipe_are_part_of_the_rhythm() -> None:
    writer = Writer()
    writer.runs(8000, step_s=10, lines=51)  # a block each 510 s
    assert writer.silence(2500) == []
    assert writer.silence(300)[0] == (2510 + 50 - 2500, "warning")


def test_the_time_to_fill_a_block_is_known_before_a_second_block_came() -> None:
    writer = Writer()
    writer.lines(51, 30.0)  # 51 lines are 25 minutes
    assert writer.silence(6000) == []


def test_a_whole_log_read_at_once_is_not_taken_for_one_block() -> None:
    writer = Writer()
    writer.lines(20_000, 1.0)
    assert writer.silence(650) == [(610, "warning")]


def test_compilation_may_take_half_an_hour() -> None:
    writer = Writer()
    writer.engine.heard(writer.now, 3000)
    assert writer.silence(1790) == []
    assert writer.silence(100)[0][1] == "warning"


def test_a_source_that_holds_data_back_gets_that_time_more() -> None:
    writer = Writer()
    writer.engine.learn(Facts(flush_s=400.0))
    writer.runs(4000)
    assert writer.silence(690) == []


def test_the_same_long_pause_is_no_news_the_second_time() -> None:
    writer = Writer()
    writer.runs(4000)
    assert writer.silence(550) == [(310, "warning")]
    writer.lines(1, 1.0)
    writer.runs(500)
    assert writer.silence(550) == []


def test_a_finished_run_does_not_stall() -> None:
    writer = Writer()
    writer.runs(4000)
    writer.engine.finished()
    assert writer.silence(5000) == []


def test_a_crashed_run_does_not_stall_as_well() -> None:
    writer = Writer()
    writer.runs(4000)
    writer.engine.failed(Failure("cuda_oom", "CUDA out of memory"), writer.step)
    assert writer.silence(5000) == []


def test_nothing_heard_is_no_stall() -> None:
    engine = Engine()
    engine.update(curve(10))
    assert engine.tick(1e9) == []
    assert engine.levels().stall_after_s is None


def test_the_message_says_how_long_and_what_was_allowed() -> None:
    writer = Writer()
    writer.runs(4000)
    (event,) = writer.engine.tick(writer.now + 400)
    assert event.message == "no new step for 400 s; the rhythm of this run allows for 300 s"
    assert event.step == writer.step - 1
    assert event.expected == pytest.approx(300)
