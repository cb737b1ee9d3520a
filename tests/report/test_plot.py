"""Curves drawn with characters."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from training_monitor.report.plot import plot, sparkline

FALLING = [(s, 3 + 5 / (1 + s)) for s in range(60)]


def test_a_falling_curve_starts_at_the_top_left_and_ends_at_the_bottom_right() -> None:
    rows = plot([(0, 3.0), (1, 2.0), (2, 1.0)], width=20, height=3, unicode=False).splitlines()
    assert rows == ["3.00 |****", "2.00 |    ******", "1.00 |          ****", "      0            2"]


def test_axes_carry_their_values() -> None:
    text = plot(FALLING, width=60, height=8)
    assert text.splitlines()[0].strip().startswith("8.00")
    assert text.splitlines()[7].strip().startswith("3.08")
    assert text.splitlines()[8].split() == ["0", "59"]


def test_ascii_is_ascii() -> None:
    assert plot(FALLING, unicode=False).isascii()
    assert sparkline([y for _, y in FALLING], unicode=False).isascii()


def test_nothing_to_plot_says_so() -> None:
    assert plot([]) == "nothing to plot: no numbers"
    assert plot([(1, math.nan)]) == "nothing to plot: no numbers"
    assert sparkline([None, math.nan, 1.0]) == ""


def test_what_is_not_a_number_is_counted() -> None:
    assert plot([(0, 1.0), (1, math.nan), (2, 2.0)]).splitlines()[-1] == "1 values that are not numbers are left out"


def test_a_sparkline_goes_down_with_its_values() -> None:
    assert sparkline([8, 7, 6, 5, 4, 3, 2, 1]) == "█▇▆▅▄▃▂▁"
    assert sparkline([1.0] * 4) == "▄▄▄▄"


finite = st.floats(allow_nan=True, allow_infinity=True, width=64)


@given(st.lists(st.tuples(st.integers(0, 10**9), finite), max_size=40), st.integers(1, 200), st.booleans())
def test_no_values_break_a_plot(points: list[tuple[int, float]], width: int, unicode: bool) -> None:
    assert plot([(float(x), y) for x, y in points], width=width, unicode=unicode)
    sparkline([y for _, y in points], unicode=unicode)
