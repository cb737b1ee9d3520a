"""The report as one HTML page that needs nothing else: no script, no font, no image from elsewhere."""

from __future__ import annotations

from html import escape
from importlib import resources
from itertools import groupby

from training_monitor.records import Event, Severity, Snapshot
from training_monitor.report import units
from training_monitor.report.sections import Line, Section, sections
from training_monitor.report.terminal import clean

WIDTH, HEIGHT, MARGIN = 720, 240, 48  # of the chart, in pixels


def html_report(snapshot: Snapshot) -> str:
    """A whole HTML document."""
    body = "".join(_section(section) for section in sections(snapshot))
    title = f"Training report: {_safe(snapshot.run)}"
    kind = f" ({_safe(snapshot.facts.format)})" if snapshot.facts.format else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{_style()}</style>\n</head>\n<body>\n"
        f'<h1>{title}</h1>\n<p class="dim">{_safe(snapshot.source)}{kind}</p>\n{_chart(snapshot)}{body}</body>\n</html>'
    )


def _safe(text: str) -> str:
    return escape(clean(text))


def _style() -> str:
    return resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8")


def _section(section: Section) -> str:
    body = _list(section) if section.is_list else _table(section)
    return f"<h2>{_safe(section.title)}</h2>\n{body}"


def _table(section: Section) -> str:
    rows = "".join(f"<dt>{_safe(line.label)}</dt><dd>{_text(line)}</dd>\n" for line in section.lines)
    return f"<dl>\n{rows}</dl>\n"


def _list(section: Section) -> str:
    out = []
    for has_heading, lines in groupby(section.lines, key=lambda line: bool(line.label)):
        if has_heading:
            out += [f"<h3>{_safe(line.label)}</h3>\n<p>{_text(line)}</p>\n" for line in lines]
        else:
            out.append("<ul>\n" + "".join(f"<li>{_text(line)}</li>\n" for line in lines) + "</ul>\n")
    return "".join(out)


def _text(line: Line) -> str:
    return f'<span class="{line.tone}">{_safe(line.text)}</span>'


def _chart(snapshot: Snapshot) -> str:
    """Loss over steps as SVG, with a mark where something serious began."""
    known = [(p.step, p.loss) for p in snapshot.curve if p.loss is not None]
    if len(known) < 2:
        return ""
    first, last = known[0][0], known[-1][0]
    low, high = min(y for _, y in known), max(y for _, y in known)
    spread = (high - low) or 1.0

    def x(step: float) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * (step - first) / (last - first)

    def y(loss: float) -> float:
        return HEIGHT - MARGIN / 2 - (HEIGHT - MARGIN) * (loss - low) / spread

    path = " ".join(f"{x(s):.1f},{y(v):.1f}" for s, v in known)
    marks = "".join(_mark(e, x(e.step)) for e in snapshot.events if _is_mark(e, first, last) and e.step is not None)
    labels = "".join(
        f'<text x="{at_x:.0f}" y="{at_y:.0f}" text-anchor="{anchor}">{text}</text>'
        for at_x, at_y, anchor, text in (
            (MARGIN - 6, y(high) + 4, "end", units.loss(high)),
            (MARGIN - 6, y(low) + 4, "end", units.loss(low)),
            (x(first), HEIGHT - 6, "start", units.count(first)),
            (x(last), HEIGHT - 6, "end", f"step {units.count(last)}"),
        )
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Loss over steps">'
        f'<polyline points="{path}"/>{marks}{labels}</svg>\n'
    )


def _is_mark(event: Event, first: int, last: int) -> bool:
    return event.severity > Severity.NOTICE and event.step is not None and first <= event.step <= last


def _mark(event: Event, x: float) -> str:
    tip = f"<title>{_safe(event.message)}</title>"
    bottom = HEIGHT - MARGIN / 2
    return f'<line class="{event.severity.label}" x1="{x:.1f}" x2="{x:.1f}" y1="8" y2="{bottom:.0f}">{tip}</line>'
