"""One line for each run."""

from __future__ import annotations

from collections.abc import Sequence

from training_monitor.records import Severity, Snapshot
from training_monitor.report import units
from training_monitor.report.sections import state_tone
from training_monitor.report.terminal import Style, Tone, ascii_only, clean

HEADINGS = ("RUN", "STATE", "STEP", "DONE", "LOSS", "MFU", "STEP TIME", "REMAINING", "ISSUES")
LEFT = ("RUN", "STATE", "ISSUES")  # aligned to the left
#: Columns that go, one after the other, where the terminal is too narrow.
LESS_NEEDED = ("STEP TIME", "MFU", "REMAINING", "STEP")
LEAST_NAME = 16  # columns for the name of a run


def status_table(snapshots: Sequence[Snapshot], style: Style | None = None) -> str:
    """A table that fits the terminal: less needed columns go, then long run names lose their middle."""
    style = style or Style()
    rows = [_row(s) for s in snapshots]
    widths = {name: max([len(name), *(len(row[name]) for row in rows)]) for name in HEADINGS}
    shown = list(HEADINGS)
    for name in LESS_NEEDED:
        if _width(shown, widths) - max(0, widths["RUN"] - LEAST_NAME) > style.width:
            shown.remove(name)
    widths["RUN"] = max(min(LEAST_NAME, widths["RUN"]), widths["RUN"] - max(0, _width(shown, widths) - style.width))
    lines = [style.paint(_line({name: name for name in shown}, widths), "dim")]
    for snapshot, row in zip(snapshots, rows, strict=True):
        tones: dict[str, Tone] = {"STATE": state_tone(snapshot), "ISSUES": _tone(snapshot)}
        lines.append(_line({name: row[name] for name in shown}, widths, style, tones))
    return "\n".join(lines) if style.unicode else ascii_only("\n".join(lines))


def _row(s: Snapshot) -> dict[str, str]:
    issues = [units.words(kind) for kind in s.active]
    return {
        "RUN": clean(s.run),
        "STATE": s.state,
        "STEP": units.count(s.step) if s.step is not None else "-",
        "DONE": units.percent(s.progress_ratio, 0) if s.progress_ratio is not None else "-",
        "LOSS": units.loss(s.loss) if s.loss is not None else "-",
        "MFU": units.percent(s.mfu_ratio) if s.mfu_ratio is not None else "-",
        "STEP TIME": units.seconds(s.step_time_s) if s.step_time_s is not None else "-",
        "REMAINING": units.duration(s.remaining_s) if s.remaining_s is not None and s.state != "finished" else "-",
        "ISSUES": (issues[0] + (f" +{len(issues) - 1}" if issues[1:] else "")) if issues else "none",
    }


def _tone(s: Snapshot) -> Tone:
    worst = max(s.active.values(), default=None)
    return "critical" if worst is Severity.CRITICAL else "warning" if worst is Severity.WARNING else "plain"


def _width(names: Sequence[str], widths: dict[str, int]) -> int:
    return sum(widths[name] for name in names) + 2 * (len(names) - 1)


def _line(
    cells: dict[str, str], widths: dict[str, int], style: Style | None = None, tones: dict[str, Tone] | None = None
) -> str:
    style, tones = style or Style(), tones or {}
    painted = []
    for name, text in cells.items():
        width = widths[name]
        cell = shortened(text, width) if name == "RUN" else text
        cell = cell.ljust(width) if name in LEFT else cell.rjust(width)
        painted.append(style.paint(cell.rstrip() if name == "ISSUES" else cell, tones.get(name, "plain")))
    return "  ".join(painted).rstrip()


def shortened(text: str, width: int) -> str:
    """`text` without its middle where it is longer than `width`."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"
