"""The values of one metric over the steps, as text, CSV or a plot."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from training_monitor.report.plot import plot
from training_monitor.report.terminal import Style, clean

FORMATS = ("text", "csv", "plot")


def history(metric: str, rows: Sequence[tuple[int, float]], form: str, style: Style | None = None) -> str:
    """(step, value) pairs in one of `FORMATS`. CSV has a header and exact numbers; NaN and infinity stand as such."""
    style = style or Style()
    if form == "csv":
        return _csv(metric, rows)
    if not rows:
        return f"{clean(metric)}: the log has no values"
    if form == "plot":
        return f"{clean(metric)}\n{plot(rows, width=style.width, unicode=style.unicode)}"
    width = max(len("step"), *(len(f"{step:,}") for step, _ in rows))
    lines = [f"{'step':>{width}}  {clean(metric)}"]
    return "\n".join(lines + [f"{step:>{width},}  {_number(value)}" for step, value in rows])


def _csv(metric: str, rows: Sequence[tuple[int, float]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("step", metric))
    writer.writerows((step, repr(value)) for step, value in rows)
    return out.getvalue().rstrip("\n")


def _number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else str(value)
