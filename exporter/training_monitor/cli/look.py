"""The commands that read logs, print what they found and end."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence

from training_monitor.app.offline import read_run
from training_monitor.cli.settings import check_formats, settings
from training_monitor.cli.terminal import ProgressLine
from training_monitor.config import load
from training_monitor.errors import UsageError
from training_monitor.records import Event, Severity, Step
from training_monitor.report.terminal import style_of
from training_monitor.run import Run

#: Names of `history --metric` → field of a step. The unit is that of docs/metrics.md.
METRICS = {
    "loss": "loss",
    "raw_loss": "raw_loss",
    "mfu": "mfu_ratio",
    "step_time": "step_time_s",
    "learning_rate": "learning_rate",
    "lr": "learning_rate",
    "lr_multiplier": "lr_multiplier",
    "grad_norm": "grad_norm",
    "tokens_per_second": "tokens_per_second",
    "tokens": "tokens_total",
    "tflops": "tflops",
    "epoch": "epoch",
}


def report(args: argparse.Namespace) -> int:
    """Prints the report of a run."""
    from training_monitor.report import REPORTS

    run = _read(args)
    now = time.time()
    run.tick(now)
    run.estimate()
    print(REPORTS[args.format](run.snapshot(now), style_of(sys.stdout)))
    return 0


def replay(args: argparse.Namespace) -> int:
    """Prints what would have alerted; exits with 1 if the run reached `--fail-on`."""
    run = _read(args, on_event=_print_json if args.output == "jsonl" else _print_line)
    worst = max((severity for severity in _severities(run)), default=None)
    if args.output == "text" and worst is None:
        print(f"{run.name}: nothing to report in {run.order.steps_seen:,} steps")
    limit = {"warning": Severity.WARNING, "critical": Severity.CRITICAL, None: None}[args.fail_on]
    return int(limit is not None and worst is not None and worst >= limit)


def _severities(run: Run) -> list[Severity]:
    return [severity for (_, severity), n in run.event_counts.items() if n]


def _print_json(run: Run, event: Event) -> None:
    from training_monitor.report.json_report import dumps, event_json

    print(dumps(event_json(run.name, event)))


def _print_line(run: Run, event: Event) -> None:
    from training_monitor.report.text import event_line

    print(event_line(event, style_of(sys.stdout)))


def history(args: argparse.Namespace) -> int:
    """Prints the last values of one metric."""
    from training_monitor.config.schema import hint
    from training_monitor.report.history import history as shown

    field = METRICS.get(args.metric)
    if field is None:
        known = ", ".join(METRICS)
        raise UsageError(f"--metric {args.metric}: unknown metric{hint(args.metric, tuple(METRICS))}; known: {known}")
    rows: deque[tuple[int, float]] = deque(maxlen=args.last)

    def take(steps: Sequence[Step]) -> None:
        rows.extend((s.step, value) for s in steps if (value := getattr(s, field)) is not None)

    _read(args, on_steps=take)
    print(shown(args.metric, list(rows), args.format, style_of(sys.stdout)))
    return 0


def _read(
    args: argparse.Namespace,
    *,
    on_event: Callable[[Run, Event], None] | None = None,
    on_steps: Callable[[Sequence[Step]], None] | None = None,
) -> Run:
    progress = ProgressLine(f"reading {os.path.basename(os.path.normpath(args.log))}")
    baseline = getattr(args, "baseline", None)
    config = settings(args)
    try:
        return read_run(args.log, config, baseline=baseline, on_event=on_event, on_steps=on_steps, progress=progress)
    finally:
        progress.clear()


def status(args: argparse.Namespace) -> int:
    """Prints one line for each run."""
    from training_monitor.app.monitor import Monitor
    from training_monitor.report.status import status_table

    monitor = Monitor(args.paths, settings(args), on_event=lambda run, event: None)
    monitor.start()
    monitor.close()
    _say_what_was_found(monitor.found.notes if monitor.found else ())
    snapshots = monitor.snapshots(expired=True)
    if snapshots:
        print(status_table(snapshots, style_of(sys.stdout)))
    return 0


def watch(args: argparse.Namespace) -> int:
    """Shows the runs, and what happens to them, until Ctrl-C."""
    from training_monitor.cli.watch import Screen

    return Screen(args.paths, settings(args)).run()


def _say_what_was_found(notes: Sequence[str]) -> None:
    for note in notes:
        print(note, file=sys.stderr)


def check_config(args: argparse.Namespace) -> int:
    """Prints the effective configuration."""
    from training_monitor.config.show import effective

    config = load(args.file)
    check_formats(config, os.path.basename(args.file))
    print(effective(config))
    return 0


def formats(args: argparse.Namespace) -> int:
    """Prints what can be read."""
    from training_monitor.cli.formats import markdown, text

    print(markdown() if args.format == "markdown" else text())
    return 0
