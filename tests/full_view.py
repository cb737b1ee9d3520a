"""A snapshot and a view in which everything is known, for tests that read all of it."""

from __future__ import annotations

from typing import Any

from training_monitor.expose.view import OwnStatus, View
from training_monitor.records import (
    Comparison,
    Cost,
    CurvePoint,
    Event,
    Facts,
    Failure,
    Goodput,
    Interval,
    Levels,
    Severity,
    Snapshot,
    SourceStatus,
    Validation,
)


def full_snapshot(run: str = "run-1", **changes: Any) -> Snapshot:
    known: dict[str, Any] = {
        "run": run,
        "source": f"/logs/{run}.log",
        "state": "running",
        "facts": Facts(
            format="nanochat",
            gpu="NVIDIA H100 80GB HBM3",
            precision="bf16",
            world_size=8,
            parameters=1.9e9,
            loss_kind="moving average (0.9)",
            step_inferred="from the order of the lines",
        ),
        "runs": 2,
        "restarts": 1,
        "step": 1000,
        "first_step": 0,
        "steps_seen": 1001,
        "total_steps": 20000,
        "progress_ratio": 0.05,
        "loss": 3.25,
        "raw_loss": 3.5,
        "best_loss": 3.125,
        "validations": {
            "loss": Validation("loss", 3.375, 900),
            "bits_per_byte": Validation("bits_per_byte", 0.96875, 900),
            "core": Validation("core", 0.21875, 900),
        },
        "learning_rate": 0.0003,
        "lr_multiplier": 0.75,
        "grad_norm": 0.5,
        "mfu_ratio": 0.40625,
        "mfu_source": "logged",
        "step_time_s": 0.34375,
        "tokens_per_second": 1.5e6,
        "tokens_scope": "global",
        "tokens_total": 524288000.0,
        "epoch": 1.5,
        "levels": Levels(3.2, 0.45, 0.41, 0.4, 0.33, 0.34, 12, 60.0),
        "loss_per_1000_steps": -0.25,
        "mfu_relative_spread": 0.01,
        "remaining_s": 6541.5,
        "final_loss": Interval(2.9, 2.8, 3.0),
        "cost": Cost(12.5, 250.0),
        "goodput": Goodput(0.93, 1000.0, 930.0, {"startup": 30.0, "evaluation": 40.0}),
        "comparison": Comparison("base", 1000, 3.25, 3.0, 0.4, 0.5, 0.34, 0.17, -12.0),
        "target_loss": 2.75,
        "curve": (CurvePoint(0, 11.0), CurvePoint(500, 4.0), CurvePoint(1000, 3.25)),
        "events": (
            Event(100, "loss_spike", Severity.WARNING, 5.0, 3.0, "loss 1.67 times its level"),
            Event(700, "loss_spike", Severity.CRITICAL, 6.5, 3.1, "loss 2.1 times its level"),
        ),
        "event_counts": {("loss_spike", Severity.WARNING): 1, ("loss_spike", Severity.CRITICAL): 1},
        "active": {"mfu_drop": Severity.WARNING},
        "failures": (Failure("cuda_oom", "CUDA out of memory"),),
        "failure_counts": {"cuda_oom": 1, "traceback": 0},
        "last_step_time": 1.7e9,
        "last_change": 1.7e9 + 1,
    }
    return Snapshot(**(known | changes))


def full_source(run: str = "run-1", **changes: Any) -> SourceStatus:
    known: dict[str, Any] = {
        "source": f"/logs/{run}.log",
        "run": run,
        "kind": "file",
        "up": True,
        "size_bytes": 1000,
        "lag_bytes": 10,
        "last_change": 1.7e9,
        "lines_read": 100,
        "lines_parsed": 90,
        "parse_errors": {"garbled": 1},
        "rotations": 1,
        "replacements": 2,
        "lost_bytes": 3,
    }
    return SourceStatus(**(known | changes))


def full_view(*runs: str, **changes: Any) -> View:
    """Runs of these names (default: one), everything known about them."""
    names = runs or ("run-1",)
    known: dict[str, Any] = {
        "snapshots": [full_snapshot(run) for run in names],
        "sources": [full_source(run) for run in names],
        "ready": True,
        "thresholds": {("loss_spike", "warning"): 1.5, ("loss_spike", "critical"): 2.0},
        "own": OwnStatus(7, 1, True, 1.7e9, {"fifo": 1}),
    }
    return View(**(known | changes))
