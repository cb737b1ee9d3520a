"""The commands that look at logs and end: report, replay, history, status, check-config, formats; and watch, which stays."""

from __future__ import annotations

import argparse
import os
import sys
import time

from training_monitor.app.offline import read_run
from training_monitor.cli.terminal import ProgressLine
from training_monitor.config import load
from training_monitor.records import Event, Severity
from training_monitor.report.json_report import dumps, event_json
from training_monitor.run import Run


def report(args: argparse.Namespace) -> int:
    """Prints the report of a run."""
    from training_monitor.report import REPORTS

    run = _read(args)
    now = time.time()
    run.tick(now)
    print(REPORTS[args.format](run.snapshot(now)))
    return 0


def replay(args: argparse.Namespace) -> int:
    """Prints what would have alerted; exits with 1 if the run reached `--fail-on`."""
    run = _read(args, on_event=_print_json if args.output == "jsonl" else _print_line)
    worst = max((severity for _, severity in run.event_counts), default=None)
    if args.output == "text" and worst is None:
        print(f"{run.name}: nothing to report in {run.order.steps_seen:,} steps")
    limit = {"warning": Severity.WARNING, "critical": Severity.CRITICAL, None: None}[args.fail_on]
    return int(limit is not None and worst is not None and worst >= limit)


def _print_json(run: Run, event: Event) -> None:
    print(dumps(event_json(run.name, event)))


def _print_line(run: Run, event: Event) -> None:
    from training_monitor.report.text import event_line

    print(event_line(event))


def _read(args: argparse.Namespace, **more: object) -> Run:
    progress = ProgressLine(f"reading {os.path.basename(args.log)}")
    try:
        return read_run(
            args.log, load(args.config_file), baseline=getattr(args, "baseline", None), progress=progress, **more  # type: ignore[arg-type]
        )
    finally:
        progress.clear()


def check_config(args: argparse.Namespace) -> int:
    """Prints the effective configuration."""
    from training_monitor.config.show import effective

    print(effective(load(args.file)))
    return 0
