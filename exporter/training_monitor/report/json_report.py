"""The report and the events as JSON: keys are public, a missing value is null, a non-finite number is a string."""

from __future__ import annotations

import json
import math
from typing import Any

from training_monitor.records import Cost, Event, Snapshot, Validation
from training_monitor.report.pick import main_validation, throughput
from training_monitor.report.recommend import recommendations
from training_monitor.report.terminal import clean_json


def event_json(run: str, event: Event) -> dict[str, Any]:
    """One anomaly event. `type` is the kind."""
    return _plain_object(
        {
            "run": run,
            "step": event.step,
            "type": event.kind,
            "severity": event.severity.label,
            "value": event.value,
            "expected": event.expected,
            "message": event.message,
        }
    )


def report_json(snapshot: Snapshot) -> dict[str, Any]:
    """The whole report of a run."""
    s = snapshot
    final = s.final_loss
    tokens, scope = throughput(s)
    return _plain_object(
        {
            "run": s.run,
            "source": s.source,
            "format": s.facts.format,
            "state": s.state,
            "runs": s.runs,
            "restarts": s.restarts,
            "step": s.step,
            "first_step": s.first_step,
            "steps_seen": s.steps_seen,
            "total_steps": s.total_steps,
            "progress_ratio": s.progress_ratio,
            "loss": s.loss,
            "best_loss": s.best_loss,
            "target_loss": s.target_loss,
            "validation": _validation(main_validation(s)),
            "learning_rate": s.learning_rate,
            "grad_norm": s.grad_norm,
            "mfu_ratio": s.mfu_ratio,
            "mfu_source": s.mfu_source,
            "step_time_seconds": s.step_time_s,
            "tokens_per_second": tokens,
            "tokens_per_second_scope": scope,
            "tokens_total": s.tokens_total,
            "trend": {"loss_per_1000_steps": s.loss_per_1000_steps, "mfu_relative_spread": s.mfu_relative_spread},
            "eta_seconds": s.remaining_s,
            "final_loss": {
                "estimate": final and final.estimate,
                "low": final and final.low,
                "high": final and final.high,
            },
            "cost": _cost(s.cost),
            "baseline": _baseline(s),
            "anomalies": [event_json(s.run, e) for e in s.events],
            "errors": [{"kind": f.kind, "line": f.line or None, "text": f.text} for f in s.failures],
            "recommendations": list(recommendations(s)),
        }
    )


def dumps(document: dict[str, Any], *, indent: int | None = None) -> str:
    """JSON text without NaN tokens, and safe on a terminal."""
    return clean_json(json.dumps(document, ensure_ascii=False, indent=indent, allow_nan=False))


def _validation(validation: Validation | None) -> dict[str, Any]:
    if validation is None:
        return {"metric": None, "value": None, "step": None}
    return {"metric": validation.metric, "value": validation.value, "step": validation.step}


def _cost(cost: Cost | None) -> dict[str, Any]:
    if cost is None:
        return {"so_far": None, "estimated_total": None, "currency": None}
    return {"so_far": cost.so_far, "estimated_total": cost.estimated_total, "currency": cost.currency}


def _baseline(snapshot: Snapshot) -> dict[str, Any] | None:
    c = snapshot.comparison
    if c is None:
        return None
    return {
        "run": c.run,
        "step": c.step,
        "loss": {"this": c.loss, "baseline": c.baseline_loss},
        "mfu_ratio": {"this": c.mfu_ratio, "baseline": c.baseline_mfu_ratio},
        "step_time_seconds": {"this": c.step_time_s, "baseline": c.baseline_step_time_s},
        "steps_ahead": c.steps_ahead,
    }


def _plain_object(document: dict[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in document.items()}


def _plain(value: Any) -> Any:
    """`value` with every non-finite number as the string that valid JSON can carry."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value
