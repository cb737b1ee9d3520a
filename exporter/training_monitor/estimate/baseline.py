"""This run beside a baseline run at the same step."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from training_monitor.records import Comparison, CurvePoint


@dataclass(frozen=True, slots=True)
class Reference:
    """A baseline run: its name and its curve, the end of the run included (`Estimator.reference`)."""

    run: str
    curve: tuple[CurvePoint, ...]


def compared(points: Sequence[CurvePoint], reference: Reference) -> Comparison | None:
    """The comparison at the latest point, over a stretch as long as the baseline's; None without a shared step."""
    if not points or not reference.curve:
        return None
    theirs, step = reference.curve, points[-1].step
    if not theirs[0].step <= step <= theirs[-1].step:
        return None
    stride = theirs[-1].step - theirs[-2].step if len(theirs) > 1 else 1
    mine = [p for p in points if p.step > step - max(1, stride)]
    center = sum(p.step for p in mine) / len(mine)
    loss, mfu, step_time = (_mean([p[i] for p in mine]) for i in (1, 3, 2))
    return Comparison(
        run=reference.run,
        step=step,
        loss=loss,
        baseline_loss=_at(theirs, center, 1),
        mfu_ratio=mfu,
        baseline_mfu_ratio=_at(theirs, center, 3),
        step_time_s=step_time,
        baseline_step_time_s=_at(theirs, center, 2),
        steps_ahead=_steps_ahead(theirs, center, loss),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def _at(points: Sequence[CurvePoint], step: float, field: int) -> float | None:
    """The value of a field at `step`, on the line between the two points beside it."""
    known = [(p.step, v) for p in points if (v := p[field]) is not None]
    if not known or not known[0][0] <= step <= known[-1][0]:
        return None
    i = bisect_left(known, (step,))
    (s, x), (t, y) = known[max(0, i - 1)], known[i]
    return y if s == t else x + (y - x) * (step - s) / (t - s)


def _steps_ahead(points: Sequence[CurvePoint], step: float, loss: float | None) -> float | None:
    """Steps that the baseline needed more to come down to `loss`; None if it never did or was there from the start."""
    if loss is None:
        return None
    known = [(p.step, p.loss) for p in points if p.loss is not None]
    smooth = [
        (known[i][0], sum(x for _, x in known[max(0, i - 2) : i + 3]) / len(known[max(0, i - 2) : i + 3]))
        for i in range(len(known))
    ]
    for (s, x), (t, y) in pairwise(smooth):
        if x > loss >= y:
            return s + (t - s) * (x - loss) / (x - y) - step
    return None
