"""Steps as columns are the same steps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from training_monitor.records import Start, Step, Steps, steps_in

STEPS = [Step(10, 3.0, learning_rate=0.1), Step(20, lr_multiplier=0.5, line=7), Step(30, None, 2.9, time=1e9)]


@given(st.lists(st.sampled_from(STEPS)), st.integers(0, 9), st.integers(0, 9))
def test_columns_hold_the_same_steps(steps: list[Step], start: int, end: int) -> None:
    columns = Steps.of(steps)
    assert list(columns) == steps
    assert len(columns) == len(steps)
    assert [columns[i] for i in range(len(steps))] == steps
    assert list(columns.part(start, end)) == list(columns[start:end]) == steps[start:end]
    assert list(columns.where(s > 10 for s in columns.step)) == [s for s in steps if s.step > 10]


def test_the_multiplier_stands_for_a_learning_rate_that_is_not_logged() -> None:
    assert list(Steps.of(STEPS).rates) == [0.1, 0.5, None]
    assert list(Steps.of(STEPS[1:]).rates) == [0.5, None]


def test_steps_are_found_among_records_in_their_order() -> None:
    assert list(steps_in([STEPS[0], Start(), Steps.of(STEPS[1:]), STEPS[0]])) == [*STEPS, STEPS[0]]
