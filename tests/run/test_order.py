"""What a step line is: next, repeat, resume, new run."""

from hypothesis import given
from hypothesis import strategies as st

from training_monitor.run.order import Order, StepOrder


def after(*steps: int) -> StepOrder:
    order = StepOrder()
    for step in steps:
        order.advance([step])
    return order


def test_the_first_step_may_be_any():
    assert StepOrder().judge(94768) is Order.NEXT


def test_a_rising_step_is_the_next_one_also_over_a_gap():
    assert after(1, 2).judge(300) is Order.NEXT


def test_a_rank_that_lags_by_a_step_repeats():
    assert after(5, 6, 7).judge(7) is Order.REPEAT
    assert after(5, 6, 7).judge(6) is Order.REPEAT


def test_going_far_back_is_a_resume():
    assert after(*range(5000, 5220)).judge(5010) is Order.RESUMED


def test_going_back_to_the_first_step_is_a_new_run():
    assert after(*range(1, 1289)).judge(1) is Order.NEW_RUN
    assert after(*range(0, 1000, 10)).judge(0) is Order.NEW_RUN
    assert after(500, 1000, 1500, 2000).judge(500) is Order.NEW_RUN


def test_a_run_that_was_resumed_late_and_falls_back_to_its_first_step_is_a_resume():
    assert after(*range(94768, 94868)).judge(94768) is Order.RESUMED


def test_a_new_process_that_goes_on_where_the_old_one_stopped_is_a_resume():
    order = after(1, 2, 3)
    order.started = True
    assert order.judge(4) is Order.RESUMED
    assert order.judge(3) is Order.RESUMED
    assert order.judge(1) is Order.NEW_RUN


def test_repeated_steps_after_a_resume_are_not_seen_again():
    order = after(*range(100), *range(50, 120))
    assert order.steps_seen == 120


@given(st.lists(st.integers(0, 60), min_size=1, max_size=80))
def test_the_number_of_distinct_steps_is_exact(steps):
    assert after(*steps).steps_seen == len(set(steps))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.lists(st.integers(1, 10), max_size=20))
def test_batches_make_no_difference(gaps, sizes):
    steps, step = [], 0
    for gap in gaps:
        step += gap + 1
        steps.append(step)
    whole, split = StepOrder(), StepOrder()
    whole.advance(steps)
    rest = steps
    for size in sizes:
        if rest[:size]:
            split.advance(rest[:size])
        rest = rest[size:]
    if rest:
        split.advance(rest)
    assert split.state() == whole.state()


def test_spans_of_distinct_steps_are_bounded():
    order = after(*(step * step for step in range(5000)))
    assert len(order.seen) <= StepOrder.SPANS
    assert order.steps_seen == 5000
