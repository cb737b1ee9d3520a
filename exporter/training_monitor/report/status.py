"""One line for each run."""

from __future__ import annotations

from collections.abc import Sequence

from training_monitor.records import Severity, Snapshot
from training_monitor.report import units
from training_monitor.report.sections import STATE_TONES
from training_monitor.report.terminal import Style, Tone, clean

HEADINGS = ("RUN", "STATE", "STEP", "DONE", "LOSS", "MFU", "STEP TIME", "REMAINING", "ISSUES")
RUN, STATE, ISSUES = 0, 1, 8


def status_table(snapshots: Sequence[Snapshot], style: Style | None = None) -> str:
    """A table as wide as the terminal at most; long run names lose their middle."""
    style = style or Style()
    rows = [HEADINGS, *(_row(s) for s in snapshots)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    widths[RUN] = max(8, min(widths[RUN], style.width - sum(widths[1:]) - 2 * (len(widths) - 1)))
    lines = [style.paint(_line(HEADINGS, widths), "dim")]
    for snapshot, row in zip(snapshots, rows[1:], strict=True):
        tones: dict[int, Tone] = {STATE: STATE_TONES.get(snapshot.state, "plain"), ISSUES: _tone(snapshot)}
        lines.append(_line(row, widths, style, tones))
    return "\n".join(lines)


def _row(s: Snapshot) -> tuple[str, ...]:
    return (
        clean(s.run),
        s.state,
        units.count(s.step) if s.step is not None else "-",
        units.percent(s.progress_ratio, 0) if s.progress_ratio is not None else "-",
        units.loss(s.loss) if s.loss is not None else "-",
        units.percent(s.mfu_ratio) if s.mfu_ratio is not None else "-",
        units.seconds(s.step_time_s) if s.step_time_s is not None else "-",
        units.duration(s.remaining_s) if s.remaining_s is not None and s.state != "finished" else "-",
        ", ".join(map(units.words, s.active)) or "none",
    )


def _tone(s: Snapshot) -> Tone:
    worst = max(s.active.values(), default=None)
    return "critical" if worst is Severity.CRITICAL else "warning" if worst is Severity.WARNING else "plain"


def _line(
    row: Sequence[str], widths: Sequence[int], style: Style | None = None, tones: dict[int, Tone] | None = None
) -> str:
    style, tones = style or Style(), tones or {}
    cells = []
    for i, (text, width) in enumerate(zip(row, widths, strict=True)):
        cell = shortened(text, width) if i == RUN else text
        cell = cell.ljust(width) if i in (RUN, STATE, ISSUES) else cell.rjust(width)
        cells.append(style.paint(cell.rstrip() if i == ISSUES else cell, tones.get(i, "plain")))
    return "  ".join(cells).rstrip()


def shortened(text: str, width: int) -> str:
    """`text` without its middle where it is longer than `width`."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"
