"""What the user wants of a run, and whether it is still within reach."""

from __future__ import annotations

from dataclasses import dataclass

from training_monitor.detect.engine import Engine
from training_monitor.estimate.baseline import Reference
from training_monitor.estimate.estimator import Estimator
from training_monitor.records import Event, Severity


@dataclass(frozen=True, slots=True)
class Goals:
    """Budget, baseline and target; each may be missing."""

    target_loss: float | None = None
    budget: float | None = None  # in the currency of the price
    reference: Reference | None = None  # the baseline run
    behind_ratio: float = 1.02  # loss over the baseline's at the same step that counts as behind

    def judge(self, engine: Engine, estimator: Estimator, step: int | None) -> list[Event]:
        """The events that follow from the estimates of this moment."""
        return [*self._judge_cost(engine, estimator, step), *self._judge_loss(engine, estimator, step)]

    def _judge_cost(self, engine: Engine, estimator: Estimator, step: int | None) -> list[Event]:
        cost = estimator.cost() if self.budget is not None else None
        if cost is None or self.budget is None:
            return []
        total = max(cost.so_far, cost.estimated_total or 0.0)
        level = None
        if total > self.budget:
            level = Severity.CRITICAL if cost.so_far > self.budget else Severity.WARNING
        what = "costs so far" if level is Severity.CRITICAL else "will cost at its end"
        message = f"the run {what} {total:.2f} {cost.currency}, the budget is {self.budget:.2f}"
        return engine.observe("over_budget", level, step, total, self.budget, message)

    def _judge_loss(self, engine: Engine, estimator: Estimator, step: int | None) -> list[Event]:
        both = estimator.comparison(self.reference) if self.reference is not None else None
        if both is None or both.loss is None or not both.baseline_loss:
            return []
        level = Severity.WARNING if both.loss / both.baseline_loss >= self.behind_ratio else None
        message = (
            f"loss {both.loss:.4g} at step {both.step}, where the baseline {both.run} had {both.baseline_loss:.4g}"
        )
        return engine.observe("behind_baseline", level, step, both.loss, both.baseline_loss, message)
