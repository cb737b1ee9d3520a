"""How the metrics of the catalogue that are more than an attribute are read from a snapshot."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from training_monitor.expose.metric import Number, Series
from training_monitor.records import KINDS, Comparison, Cost, Event, Goodput, Levels, Severity, Snapshot

#: Most series of one metric that come from names in the log (validation metrics, reasons), not from a known list.
MAX_SERIES = 50
#: Where the wall time of a run can go: every reason exists at 0.
LOST_REASONS = ("startup", "evaluation", "checkpoint", "sampling", "stall", "rework", "other")
_KIND_SEVERITIES = tuple(((kind, sev.label), (kind, sev)) for kind in KINDS for sev in Severity)


def anomaly_counts(s: Snapshot) -> Series:
    counts = s.event_counts
    return [(labels, counts.get(key, 0)) for labels, key in _KIND_SEVERITIES]


def anomaly_active(s: Snapshot) -> Series:
    active = s.active
    return [(labels, active.get(kind) == severity) for labels, (kind, severity) in _KIND_SEVERITIES]


def last_events(value: Callable[[Event], Number]) -> Callable[[Snapshot], Series]:
    def read(s: Snapshot) -> Series:
        last = {event.kind: event for event in s.events}
        return [((kind,), value(last[kind])) for kind in KINDS if kind in last]

    return read


def level(value: Callable[[Levels], Number]) -> Callable[[Snapshot], Number]:
    return lambda s: value(s.levels)


def validation(metric: str) -> Callable[[Snapshot], Number]:
    return lambda s: s.validations[metric].value if metric in s.validations else None


def other_validations(s: Snapshot) -> Series:
    names = sorted(name for name in s.validations if name not in ("loss", "bits_per_byte"))
    return [((name,), s.validations[name].value) for name in names[:MAX_SERIES]]


def goodput(value: Callable[[Goodput], Number]) -> Callable[[Snapshot], Number]:
    return lambda s: value(s.goodput) if s.goodput is not None else None


def lost(s: Snapshot) -> Series:
    return [] if s.goodput is None else by_name({**dict.fromkeys(LOST_REASONS, 0.0), **s.goodput.lost})


def final_loss(s: Snapshot) -> Series:
    f = s.final_loss
    return [] if f is None else [(("estimate",), f.estimate), (("low",), f.low), (("high",), f.high)]


def dollars(value: Callable[[Cost], Number]) -> Callable[[Snapshot], Number]:
    """Only dollars: a sum in another currency would be a lie under this name."""
    return lambda s: value(s.cost) if s.cost is not None and s.cost.currency == "USD" else None


def baseline(value: Callable[[Comparison], Number]) -> Callable[[Snapshot], Number]:
    return lambda s: value(s.comparison) if s.comparison is not None else None


def over(mine: Number, theirs: Number) -> Number:
    return None if mine is None or not theirs else mine / theirs


def run_info(s: Snapshot) -> Series:
    f = s.facts
    values = (
        f.format,
        f.gpu,
        f.precision,
        f.world_size,
        None if f.parameters is None or not math.isfinite(f.parameters) else int(f.parameters),
        s.source,
        f.loss_kind,
        s.mfu_source,
        s.tokens_scope,
        f.step_inferred,
    )
    return [(tuple("" if v is None else str(v) for v in values), 1)]


def by_name(counts: Mapping[str, float]) -> Series:
    """One series for each name, at most `MAX_SERIES`."""
    return [((name,), counts[name]) for name in sorted(counts)[:MAX_SERIES]]
