"""The report for a terminal, and the event lines of a replay."""

from __future__ import annotations

import textwrap

from training_monitor.records import Event, Severity, Snapshot
from training_monitor.report import units
from training_monitor.report.plot import sparkline
from training_monitor.report.sections import Section, sections
from training_monitor.report.terminal import Style, Tone, ascii_only, clean

LABEL = 16  # columns
_TONES: dict[Severity, Tone] = {Severity.NOTICE: "dim", Severity.WARNING: "warning", Severity.CRITICAL: "critical"}


def text_report(snapshot: Snapshot, style: Style | None = None) -> str:
    """The report as lines of text, without a newline at its end."""
    style = style or Style()
    head = style.paint(clean(snapshot.run), "title")
    kind = f" ({clean(snapshot.facts.format)})" if snapshot.facts.format else ""
    parts = [f"{head}\n{style.paint(clean(snapshot.source) + kind, 'dim')}"]
    for section in sections(snapshot):
        body = _list(section, style) if section.is_list else _table(section, style)
        if section.title == "Trends" and (bars := sparkline([p.loss for p in snapshot.curve], unicode=style.unicode)):
            body += f"\n  {'Loss curve':<{LABEL}}{bars}"
        parts.append(f"{style.paint(section.title, 'title')}\n{body}")
    text = "\n\n".join(parts)
    return text if style.unicode else ascii_only(text)


def _table(section: Section, style: Style) -> str:
    indent = " " * (LABEL + 2)
    return "\n".join(
        _wrapped(f"  {line.label:<{LABEL}}", indent, line.text, line.tone, style) for line in section.lines
    )


def _list(section: Section, style: Style) -> str:
    """Items behind bullets; those under a heading stand further in."""
    out: list[str] = []
    indent = "  "
    for line in section.lines:
        if line.label:
            indent = "    "
            out += [""] * bool(out) + ["  " + style.paint(line.label, "title")]
            out.append(_wrapped(indent, indent, line.text, line.tone, style))
        else:
            out.append(_wrapped(f"{indent}• ", f"{indent}  ", line.text, line.tone, style))
    return "\n".join(out)


def _wrapped(first: str, more: str, text: str, tone: Tone, style: Style) -> str:
    """`text` behind `first`, later lines behind `more`, at most as wide as the terminal."""
    lines = textwrap.wrap(text, max(20, style.width - len(first)), break_on_hyphens=False) or [""]
    return "\n".join((more if i else first) + style.paint(line, tone) for i, line in enumerate(lines)).rstrip()


def event_line(event: Event, style: Style | None = None) -> str:
    """One event on one line: `step 466  CRITICAL  loss_spike  loss 8.18 is 1.54x its recent level 5.31`."""
    style = style or Style()
    step = "" if event.step is None else f"step {units.count(event.step)}"
    severity = style.paint(f"{event.severity.label.upper():<8}", _TONES[event.severity])
    line = f"{step:<14}  {severity}  {clean(event.kind):<15}  {clean(event.message)}"
    return line if style.unicode else ascii_only(line)
