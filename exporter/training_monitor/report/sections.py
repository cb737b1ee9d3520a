"""What every report says, in the order in which it says it; text, Markdown and HTML only differ in how they look."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import NamedTuple

from training_monitor.records import Comparison, Event, Failure, Severity, Snapshot
from training_monitor.report import units
from training_monitor.report.pick import main_validation, throughput
from training_monitor.report.recommend import ALL_WELL, advised
from training_monitor.report.terminal import Tone, clean

MOST_ISSUES = 12
MOST_ERRORS = 5


class Line(NamedTuple):
    """One fact, with its label; or one item of a list, without."""

    label: str
    text: str
    tone: Tone = "plain"


class Section(NamedTuple):
    """A heading and what stands under it."""

    title: str
    lines: list[Line]
    is_list: bool = False  # of sentences rather than of labelled facts; a label is a heading then


def sections(snapshot: Snapshot) -> list[Section]:
    """The report of one run."""
    return [
        Section("Current Status", _status(snapshot)),
        Section("Trends", _trends(snapshot)),
        Section("Estimates", _estimates(snapshot)),
        Section("Issues Detected", _issues(snapshot), is_list=True),
        Section("Recommendations", _recommendations(snapshot), is_list=True),
    ]


# -- status -----------------------------------------------------------------------------------------------------------

STATE_TONES: dict[str, Tone] = {"running": "good", "finished": "good", "stalled": "critical", "crashed": "critical"}


def state_tone(s: Snapshot) -> Tone:
    """The colour of a run's state: that of its worst open condition."""
    worst = max(s.active.values(), default=Severity.NOTICE)
    if s.state == "running" and worst > Severity.NOTICE:
        return "critical" if worst is Severity.CRITICAL else "warning"
    return STATE_TONES.get(s.state, "plain")


def _status(s: Snapshot) -> list[Line]:
    lines = [
        Line("State", s.state + _worst_active(s), state_tone(s)),
        Line("Step", progress(s)),
        Line("Loss", _loss(s)),
    ]
    validation = main_validation(s)
    if validation is not None:
        at = "" if validation.step is None else f" at step {units.count(validation.step)}"
        lines.append(Line("Validation", f"{units.words(validation.metric)} {units.loss(validation.value)}{at}"))
    lines.append(Line("Learning rate", _learning_rate(s)))
    if s.grad_norm is not None:
        lines.append(Line("Grad norm", f"{s.grad_norm:.4g}"))
    lines += [
        Line("MFU", units.percent(s.mfu_ratio) + (" (computed)" if s.mfu_source == "computed" else "")),
        Line("Step time", units.seconds(s.step_time_s)),
        Line("Throughput", _throughput(s)),
    ]
    if s.facts.gpu is not None:
        devices = "" if s.facts.world_size is None else f"{s.facts.world_size} × "
        lines.append(Line("Hardware", devices + clean(s.facts.gpu)))
    if s.runs > 1:
        lines.append(Line("Runs", f"{s.runs} in this log; this is the last one"))
    if s.restarts:
        lines.append(Line("Restarts", units.count(s.restarts)))
    return lines


def _throughput(s: Snapshot) -> str:
    tokens, scope = throughput(s)
    if tokens is None:
        return units.UNKNOWN
    return f"{units.count(tokens)} tokens/s{' per device' if scope == 'device' else ''}"


def _worst_active(s: Snapshot) -> str:
    """The open conditions, in brackets; nothing is open any more once a run has finished."""
    open_kinds = [kind for kind in s.active if s.state not in (kind, "finished")]
    return f" ({', '.join(map(units.words, open_kinds))})" if open_kinds else ""


def progress(s: Snapshot) -> str:
    """8,349 of 16,704 (50.0 %)."""
    if s.step is None:
        return "none yet"
    if s.total_steps is None:
        return f"{units.count(s.step)} (of how many is unknown)"
    share = "" if s.progress_ratio is None else f" ({units.percent(s.progress_ratio)})"
    return f"{units.count(s.step)} of {units.count(s.total_steps)}{share}"


def _loss(s: Snapshot) -> str:
    if s.loss is None:
        return units.UNKNOWN
    kind = s.facts.loss_kind
    notes = [f"best {units.loss(s.best_loss)}"] if s.best_loss is not None else []
    notes += [clean(kind)] if kind not in (None, "raw") else []
    return units.loss(s.loss) + (f" ({', '.join(notes)})" if notes else "")


def _learning_rate(s: Snapshot) -> str:
    if s.learning_rate is None and s.lr_multiplier is not None:
        return f"{units.percent(s.lr_multiplier, 0)} of its peak"
    return units.rate(s.learning_rate)


# -- trends -----------------------------------------------------------------------------------------------------------


def _trends(s: Snapshot) -> list[Line]:
    lines = [Line("Loss", _slope(s)), Line("MFU", _steadiness(s))]
    since = s.levels.steps_since_improvement
    if since is not None:
        lines.append(Line("Improvement", f"last one {units.count(since)} steps ago"))
    recent, baseline = s.levels.step_time_recent, s.levels.step_time_baseline
    if (against := units.change(recent, baseline)) is not None:
        lines.append(Line("Step time", f"{units.seconds(recent)} recently, {against} against its baseline"))
    return lines


def _slope(s: Snapshot) -> str:
    slope = s.loss_per_1000_steps
    if slope is None or not math.isfinite(slope):
        return units.UNKNOWN
    if s.loss is not None and abs(slope) < 5e-4 * abs(s.loss):
        return f"flat ({slope:+.2g} per 1,000 steps)".replace("-", "−")
    known = (s.step or 0) - (s.first_step or 0)
    per = 1000 if known >= 500 else 100 if known >= 50 else 10  # not more than what was seen
    return f"{'falling' if slope < 0 else 'rising'} by {abs(slope) * per / 1000:.3g} per {per:,} steps"


def _steadiness(s: Snapshot) -> str:
    spread = s.mfu_relative_spread
    if spread is None:
        return units.UNKNOWN
    return f"{'steady' if spread < 0.02 else 'uneven'} (± {units.percent(spread)})"


# -- estimates --------------------------------------------------------------------------------------------------------


def _estimates(s: Snapshot) -> list[Line]:
    lines = [Line("Time remaining", _remaining(s)), Line("Final loss", _final_loss(s))]
    if s.target_loss is not None:
        lines.append(_target(s, s.target_loss))
    lines.append(Line("Cost", _cost(s)))
    if s.goodput is not None:
        lost = sorted(s.goodput.lost.items(), key=lambda item: -item[1])[:3]
        where = ", ".join(f"{units.words(kind)} {units.duration(t)}" for kind, t in lost if t >= 1)
        text = f"{units.percent(s.goodput.ratio)} of {units.duration(s.goodput.wall_s)} spent in steps"
        lines.append(Line("Goodput", f"{text} ({where})" if where else text))
    if s.comparison is not None:
        lines += _comparison(s.comparison)
    return lines


def _remaining(s: Snapshot) -> str:
    if s.state == "finished":
        return "none, the run has finished"
    if s.remaining_s is None:
        return units.UNKNOWN
    if s.state != "running":
        return f"{units.duration(s.remaining_s)} once it runs again"
    if s.last_step_time is None:
        return units.duration(s.remaining_s)
    return f"{units.duration(s.remaining_s)}, until about {units.moment(s.last_step_time + s.remaining_s)}"


def _final_loss(s: Snapshot) -> str:
    final = s.final_loss
    if s.state == "finished":
        return "the run has finished"
    if final is None:
        return "too early to say" if s.total_steps is not None else units.UNKNOWN
    return f"{units.loss(final.estimate)} (90 % between {units.loss(final.low)} and {units.loss(final.high)})"


def _target(s: Snapshot, target: float) -> Line:
    reached = s.best_loss is not None and s.best_loss <= target
    if reached:
        return Line("Target loss", f"{units.loss(target)}: reached", "good")
    if s.final_loss is None:
        return Line("Target loss", f"{units.loss(target)}: too early to say")
    if s.final_loss.high <= target:
        return Line("Target loss", f"{units.loss(target)}: will be reached", "good")
    if s.final_loss.low > target:
        return Line("Target loss", f"{units.loss(target)}: will be missed", "warning")
    likely = "likely" if s.final_loss.estimate <= target else "possible but not likely"
    return Line("Target loss", f"{units.loss(target)}: {likely}")


def _cost(s: Snapshot) -> str:
    cost = s.cost
    if cost is None:
        return f"{units.UNKNOWN} (configure the price of a GPU hour)"
    so_far = f"{units.money(cost.so_far, cost.currency)} so far"
    if cost.estimated_total is None or s.state == "finished":
        return so_far
    return f"{so_far}, {units.money(cost.estimated_total, cost.currency)} at the end"


def _comparison(c: Comparison) -> list[Line]:
    name = clean(c.run)
    rows = (
        ("Loss", units.loss, c.loss, c.baseline_loss),
        ("MFU", units.percent, c.mfu_ratio, c.baseline_mfu_ratio),
        ("Step time", units.seconds, c.step_time_s, c.baseline_step_time_s),
    )
    known = [
        f"{label} {shown(mine)} against {shown(theirs)} ({change})"
        for label, shown, mine, theirs in rows
        if (change := units.change(mine, theirs)) is not None
    ]
    if c.steps_ahead is not None and abs(c.steps_ahead) >= 1:
        where = "ahead" if c.steps_ahead > 0 else "behind"
        known.append(f"{units.count(abs(c.steps_ahead))} steps {where}")
    return [Line("Baseline", f"{name} at step {units.count(c.step)}"), *(Line("", text) for text in known)]


# -- issues -----------------------------------------------------------------------------------------------------------


def _issues(s: Snapshot) -> list[Line]:
    serious = [e for e in s.events if e.severity > Severity.NOTICE]
    lines = [_issue(e, is_open=_is_open(s, e)) for e in serious[-MOST_ISSUES:]]
    if len(serious) > MOST_ISSUES:
        lines.insert(0, Line("", f"{len(serious) - MOST_ISSUES} earlier ones are not shown", "dim"))
    errors = [f for f in s.failures if not any(f.text[:60] in e.message for e in serious)]  # not told yet
    lines += [_error(failure) for failure in errors[:MOST_ERRORS]]
    if len(errors) > MOST_ERRORS:
        lines.append(Line("", f"{len(errors) - MOST_ERRORS} more errors, which often follow from the first", "dim"))
    notices = Counter(units.words(e.kind) for e in s.events if e.severity == Severity.NOTICE)
    if notices:
        kinds = ", ".join(f"{n} × {kind}" if n > 1 else kind for kind, n in notices.items())
        lines.append(Line("", f"For information only: {kinds}", "dim"))
    return lines if serious or s.failures else [Line("", "None", "good"), *lines]


def _error(failure: Failure) -> Line:
    where = f"line {units.count(failure.line)}, " if failure.line else ""
    tone: Tone = "critical" if failure.fatal else "plain"
    return Line("", f"Error ({where}{clean(failure.kind)}): {clean(failure.text)}", tone)


def _is_open(s: Snapshot, event: Event) -> bool:
    """Is this the latest event of a condition that still holds?"""
    latest = next(e for e in reversed(s.events) if e.kind == event.kind and e.severity > Severity.NOTICE)
    return event.kind in s.active and event is latest and s.state != "finished"


def _issue(event: Event, *, is_open: bool) -> Line:
    told = event.step is None or re.search(rf"\bstep {event.step}\b", event.message)
    step = "" if told else f"step {units.count(event.step)}: "
    still = " (still open)" if is_open else ""
    tone: Tone = "critical" if event.severity is Severity.CRITICAL else "warning"
    return Line("", f"{event.severity.label.upper()} {step}{clean(event.message)}{still}", tone)


def _recommendations(s: Snapshot) -> list[Line]:
    lines = []
    for event, advice in advised(s):
        at = "" if event.step is None else f", step {units.count(event.step)}"
        lines.append(Line(f"{advice.title}{at}", f"Look first: {advice.look_first}"))
        lines += [Line("", action) for action in advice.actions]
    return lines or [Line("", ALL_WELL[s.state], STATE_TONES.get(s.state, "plain"))]
