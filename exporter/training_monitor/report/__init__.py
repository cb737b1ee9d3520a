"""Reports of a run, from its snapshot alone."""

from __future__ import annotations

from collections.abc import Callable

from training_monitor.records import Snapshot


def _json(snapshot: Snapshot) -> str:
    from training_monitor.report.json_report import dumps, report_json

    return dumps(report_json(snapshot), indent=2)


#: Name of `--format` → the report as text.
REPORTS: dict[str, Callable[[Snapshot], str]] = {"json": _json}
