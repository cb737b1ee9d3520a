"""Reads a log from its start to its end, for reports, replays and baselines. The same path as live."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from training_monitor.app.naming import run_name
from training_monitor.app.polled import CLOUD, open_feed
from training_monitor.clock import SystemClock
from training_monitor.config import Config, RunConfig
from training_monitor.errors import InputError
from training_monitor.estimate.baseline import Reference
from training_monitor.estimate.estimator import EstimateSettings
from training_monitor.records import Event, Step
from training_monitor.run import Goals, Run
from training_monitor.tail.discovery import Candidate, discover

#: Called with bytes read and bytes in all, now and then.
Progress = Callable[[int, int], None]


def read_run(
    path: str,
    config: Config,
    *,
    baseline: str | None = None,
    on_event: Callable[[Run, Event], None] | None = None,
    on_steps: Callable[[Sequence[Step]], None] | None = None,
    progress: Progress | None = None,
) -> Run:
    """The run whose log is `path` (a folder: its newest log), read to its end. Raises InputError."""
    candidate = Candidate(path, "wandb-cloud") if path.startswith(CLOUD) else newest(path)
    name = run_name(candidate.path, [path], config.names)
    settings = config.of(name)
    run = Run(
        name,
        candidate.path,
        thresholds=settings.thresholds,
        settings=settings_of(settings),
        goals=goals_of(settings, reference(baseline or settings.baseline, config)),
    )
    feed = open_feed(candidate, run, config, SystemClock(), os.environ)
    feed.on_steps = on_steps
    while (chunk := feed.read()) is not None:
        _tell(run, feed.take(chunk), on_event)
        if progress is not None:
            status = feed.status
            progress((status.size_bytes or 0) - (status.lag_bytes or 0), status.size_bytes or 0)
    feed.close()
    if feed.problem is not None or feed.status.waiting:
        raise InputError(feed.problem or f"{path}: does not exist")
    _tell(run, feed.end(), on_event)
    _tell(run, run.end(), on_event)
    return run


def _tell(run: Run, events: Sequence[Event], on_event: Callable[[Run, Event], None] | None) -> None:
    if on_event is not None:
        for event in events:
            on_event(run, event)


def newest(path: str, env: Mapping[str, str] | None = None) -> Candidate:
    """The one log that `path` stands for: itself, or the log written last in a folder. Raises InputError if none."""
    if os.path.isfile(path):
        named = discover([path], env=env or {}, cwd=os.getcwd()).candidates
        return named[0] if named else Candidate(path, "file")
    if not os.path.exists(path) and not any(c in path for c in "*?["):
        raise InputError(f"{path}: does not exist; give a log file, a folder with logs or a wandb folder")
    found = discover([path], env=env or {}, cwd=os.getcwd())
    candidates = [c for c in found.candidates if os.path.isfile(c.path)]
    if not candidates:
        raise InputError(
            "; ".join(found.notes) or f"{path}: no log found there; name the file itself if it has another name"
        )
    return max(candidates, key=lambda c: (os.path.getmtime(c.path), c.path))


def settings_of(config: RunConfig) -> EstimateSettings:
    """What the user configured, as the estimators take it."""
    return EstimateSettings(
        gpu=config.gpu,
        gpus=config.gpus,
        precision=config.precision,
        peak_flops=config.peak_flops,
        flops_per_token=config.flops_per_token,
        parameters=config.parameters,
        usd_per_gpu_hour=config.usd_per_gpu_hour,
        total_steps=config.total_steps,
    )


def goals_of(config: RunConfig, baseline: Reference | None) -> Goals:
    """What the user wants of a run."""
    return Goals(config.target_loss, config.budget_usd, baseline, config.behind_ratio)


def reference(path: str | None, config: Config) -> Reference | None:
    """The baseline run of a log, to compare with. Raises InputError if it cannot be read."""
    return _reference(path, config.format, config.regex) if path is not None else None


@lru_cache(maxsize=8)
def _reference(path: str, format: str | None, regex: tuple[str, ...]) -> Reference:
    run = read_run(path, Config(format=format, regex=regex))
    if run.order.last is None:
        raise InputError(f"{path}: no training step found, so it cannot be the baseline")
    return run.as_reference()
