"""A curve as text: braille dots, or plain ASCII where the terminal has nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence

#: The eight dots of a braille cell: bit of column x (0, 1) and row y (0 to 3) from the top. Unicode 15, block 2800.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.-=+*#@"


def plot(points: Sequence[tuple[float, float]], *, width: int = 80, height: int = 12, unicode: bool = True) -> str:
    """Lines of text that show y over x with labelled axes, at most `width` characters wide.

    Points that are not numbers are left out and counted below; no points give one line that says so.
    """
    known = [(x, y) for x, y in points if math.isfinite(x) and abs(y) < 1e300]  # differences must stay finite
    if not known:
        return "nothing to plot: no numbers"
    low, high = min(y for _, y in known), max(y for _, y in known)
    if low == high:
        low, high = low - max(abs(low), 1e-9) * 0.01, high + max(abs(high), 1e-9) * 0.01
    labels = _labels(low, high, height)
    margin = max(map(len, labels)) + 2
    columns = max(8, width - margin)
    grid = _Grid(columns, height, unicode=unicode)
    first, last = min(x for x, _ in known), max(x for x, _ in known)
    previous = None
    for x, y in known:
        at = grid.dot((x - first) / (last - first) if last > first else 0.5, (y - low) / (high - low))
        grid.draw(previous if previous is not None else at, at)
        previous = at
    bar = "│" if unicode else "|"
    rows = [f"{label:>{margin - 2}} {bar}{row}".rstrip() for label, row in zip(labels, grid.rows(), strict=True)]
    left, right = f"{first:,.0f}", f"{last:,.0f}"
    axis = " " * margin + left + right.rjust(columns - len(left)) if last > first else " " * margin + left
    left_out = len(points) - len(known)
    return "\n".join([*rows, axis, *([f"{left_out:,} values that are not numbers are left out"] if left_out else [])])


def sparkline(values: Sequence[float | None], *, width: int = 40, unicode: bool = True) -> str:
    """One line of bars, each the mean of its share of the values; empty without two numbers."""
    known = [v for v in values if v is not None and abs(v) < 1e300]
    if len(known) < 2:
        return ""
    size = min(width, len(known))
    parts = [known[i * len(known) // size : (i + 1) * len(known) // size] for i in range(size)]
    means = [sum(part) / len(part) for part in parts]
    low, high = min(means), max(means)
    bars = _BARS if unicode else _ASCII_BARS
    return "".join(bars[round((m - low) / (high - low) * 7) if high > low else 3] for m in means)


class _Grid:
    """Dots on a character grid; (0, 0) is the dot at the top left."""

    def __init__(self, columns: int, rows: int, *, unicode: bool) -> None:
        self.unicode = unicode
        self.across, self.down = (2, 4) if unicode else (1, 1)
        self.cells = [[0] * columns for _ in range(rows)]

    def dot(self, x: float, y: float) -> tuple[int, int]:
        """The dot at the relative position x, y (0 to 1, y upwards)."""
        width, height = len(self.cells[0]) * self.across, len(self.cells) * self.down
        return round(x * (width - 1)), round((1 - y) * (height - 1))

    def draw(self, a: tuple[int, int], b: tuple[int, int]) -> None:
        """Sets the dots on the line from `a` to `b`."""
        steps = max(abs(b[0] - a[0]), abs(b[1] - a[1]), 1)
        for i in range(steps + 1):
            x, y = round(a[0] + (b[0] - a[0]) * i / steps), round(a[1] + (b[1] - a[1]) * i / steps)
            bit = _DOTS[x % 2][y % 4] if self.unicode else 1
            self.cells[y // self.down][x // self.across] |= bit

    def rows(self) -> list[str]:
        """The characters."""
        paint = (lambda c: chr(0x2800 + c) if c else " ") if self.unicode else (lambda c: "*" if c else " ")
        return ["".join(map(paint, row)) for row in self.cells]


def _labels(low: float, high: float, rows: int) -> list[str]:
    """Values at the top, in the middle and at the bottom, the others empty."""
    digits = max(0, min(12, 2 - math.floor(math.log10(high - low))))
    labels = [""] * rows
    for row, value in ((0, high), (rows // 2, high - (high - low) * (rows // 2) / max(1, rows - 1)), (rows - 1, low)):
        labels[row] = f"{value:.{digits}f}" if abs(value) < 1e7 else f"{value:.4g}"
    return labels
