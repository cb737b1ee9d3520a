"""Reports of a run, from its snapshot alone."""

from __future__ import annotations

from typing import Protocol

from training_monitor.records import Snapshot
from training_monitor.report.terminal import Style


class Report(Protocol):
    """Tells a run; the style counts for terminals only."""

    def __call__(self, snapshot: Snapshot, style: Style | None = None) -> str: ...


def _text(snapshot: Snapshot, style: Style | None = None) -> str:
    from training_monitor.report.text import text_report

    return text_report(snapshot, style)


def _markdown(snapshot: Snapshot, style: Style | None = None) -> str:
    from training_monitor.report.markdown import markdown_report

    return markdown_report(snapshot)


def _json(snapshot: Snapshot, style: Style | None = None) -> str:
    from training_monitor.report.json_report import dumps, report_json

    return dumps(report_json(snapshot), indent=2)


def _html(snapshot: Snapshot, style: Style | None = None) -> str:
    from training_monitor.report.html import html_report

    return html_report(snapshot)


#: Name of `--format` → the report.
REPORTS: dict[str, Report] = {
    "text": _text,
    "markdown": _markdown,
    "json": _json,
    "html": _html,
}
