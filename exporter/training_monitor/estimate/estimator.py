"""All estimates of one run behind one door."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

from training_monitor.estimate.baseline import Reference, compared
from training_monitor.estimate.columns import number
from training_monitor.estimate.cost import cost_of
from training_monitor.estimate.curve import LAST, Curve
from training_monitor.estimate.final_loss import final_loss
from training_monitor.estimate.goodput import STALL_S, WallTime
from training_monitor.estimate.gpus import is_half, peak_flops
from training_monitor.estimate.mfu import computed_mfu
from training_monitor.estimate.pace import Pace
from training_monitor.estimate.pauses import Pauses
from training_monitor.estimate.trend import loss_per_1000_steps, mfu_relative_spread
from training_monitor.records import Comparison, Cost, CurvePoint, Facts, Goodput, Interval, Pause, Step, Steps
from training_monitor.state import Stateful


@dataclass(frozen=True, slots=True)
class EstimateSettings:
    """What the user knows about a run; each value overrides what the log says."""

    total_steps: int | None = None
    gpu: str | None = None
    gpus: int | None = None  # devices in the job
    precision: str | None = None
    peak_flops: float | None = None  # FLOP/s of one device
    flops_per_token: float | None = None  # training FLOPs
    parameters: float | None = None
    usd_per_gpu_hour: float | None = None


LARGEST_STEP = 2**53  # beyond it floats cannot count
#: Facts that estimates need.
NEEDED = (
    "total_steps",
    "tokens_planned",
    "tokens_per_step",
    "tokens_scope",
    "world_size",
    "gpu",
    "precision",
    "peak_flops",
    "flops_per_token",
    "parameters",
)


class Estimator(Stateful):
    """Learns from steps, pauses and moments of one run; its accessors say what follows. None: not known (yet).

    Call order: `learn` what the header says, `update` with rising steps, `pause` where the log mentions one, `wall`
    when the source grew, `resumed` before the first step of a process that goes on from an earlier step.
    """

    __slots__ = (
        "curve_",
        "facts",
        "first",
        "held",
        "last",
        "log_times",
        "pace",
        "paused",
        "pauses",
        "previous_time",
        "settings",
        "wall_",
    )
    constants = ("settings",)

    def __init__(self, settings: EstimateSettings | None = None) -> None:
        self.settings = settings or EstimateSettings()
        self.facts: dict[str, Any] = dict.fromkeys(NEEDED)
        self.first: int | None = None  # lowest step seen
        self.last: int | None = None  # latest step
        self.curve_ = Curve()
        self.pace = Pace()
        self.pauses = Pauses()
        self.wall_ = WallTime()
        self.log_times = False  # lines carry their own times, so that those of reading do not count
        self.held: float | None = None  # time of the latest lines, which is no moment yet: more may come at the same
        self.previous_time: float | None = None  # of the latest line that carries one
        self.paused = False  # since the latest line, for a time that is not known

    # -- what is learned ----------------------------------------------------------------------------------------------

    def learn(self, facts: Facts) -> None:
        """Takes what header lines say; later facts override earlier ones."""
        for name in NEEDED:
            if (value := getattr(facts, name)) is not None:
                self.facts[name] = value

    def update(self, steps: Sequence[Step]) -> None:
        """Takes step lines with rising steps. The result does not depend on how they are split into batches."""
        steps = Steps.of(steps)
        if steps and steps.step[-1] > LARGEST_STEP:
            steps = steps.where(s <= LARGEST_STEP for s in steps.step)
        if not steps:
            return
        steps = self._completed(steps)
        self.first = steps.step[0] if self.first is None else min(self.first, steps.step[0])
        self.curve_.update(steps)
        if self.log_times:
            self._update_timed(steps)
        else:
            self.pace.update(steps)
        self.last = steps.step[-1]
        self.paused = False

    def _update_timed(self, steps: Steps) -> None:
        """Lines that carry times: what came between two of them is known exactly.

        Lines of the same instant came together, out of a buffer: the moment is over when a later line comes.
        """
        i, n = 0, len(steps.step)
        before, was = (self.last, self.previous_time)
        while i < n and self.wall_.is_due:
            self._pass(steps.time[i])
            self.pace.update(steps.part(i, i + 1))
            self._hold(steps.time[i])
            before, was, i = steps.step[i], steps.time[i], i + 1
        for step, time, step_time in zip(*(c[i:n] for c in (steps.step, steps.time, steps.step_time_s)), strict=True):
            if was is not None and time is not None and time - was > STALL_S and before is not None:
                self.wall_.stalled(time - was - (step_time or 0.0) * (step - before), step_time)
            before, was = step, time
        start, latest, previous = self._newest(steps.time, i)
        if start > i:
            self.pace.update(steps.part(i, start))
            self.held = previous
        self._pass(latest)
        if n > start:
            self.pace.update(steps.part(start, n))
            self._hold(latest)
        self.previous_time = steps.time[-1]

    def _newest(self, times: Sequence[float | None], start: int) -> tuple[int, float | None, float | None]:
        """Where the latest instant of the lines from `start` on begins, that instant, and the one before it."""
        first, latest, previous = start, self.held, self.held
        for i in range(start, len(times)):
            if (at := times[i]) is not None and (latest is None or at > latest):
                first, latest, previous = i, at, latest
        return first, latest, previous

    def _hold(self, at: float | None) -> None:
        """A line came at `at`; more of the same instant may follow."""
        if at is not None and (self.held is None or at > self.held):
            self.held = at

    def _pass(self, at: float | None) -> None:
        """It is `at` now: the moment before is over."""
        if self.held is not None and at is not None and at > self.held:
            self._moment(self.held)
            self.held = None

    def pause(self, pause: Pause) -> None:
        """Takes an evaluation, a checkpoint, sampling; an evaluation result is one of kind "evaluation"."""
        self._pass(math.inf if pause.time is None else pause.time)
        step = pause.step if pause.step is not None else self.last
        if step is not None and self.pauses.saw(pause.kind, step):
            self.wall_.paused(pause.kind, pause.seconds)
            if pause.seconds is not None:
                self.pauses.took(pause.kind, pause.seconds)
            self.paused = self.paused or bool(self.wall_.kinds)

    def resumed(self, step: int | None) -> None:
        """A process goes on at `step` (None: not known), which may lie before the latest one."""
        repeated = max(0, self.last - step + 1) if step is not None and self.last is not None else 0
        self.wall_.resumed(repeated, self.pace.step_time_s)
        self.pace.resumed()
        self.previous_time = None
        if step is not None:
            self.curve_.rewind(step)

    def wall(self, at: float, step: int | None) -> None:
        """The source grew at unix time `at`; `step` is the latest one in it. Not for old lines that are caught up."""
        if self.log_times:
            return
        if not self.wall_.is_due:
            self.wall_.stalled(self.wall_.outside_s(at, self.pace.productive_s), self.pace.step_time_s)
        self._moment(at)

    def _moment(self, at: float | None) -> None:
        if at is not None:
            self.wall_.moment(at, self.pace.productive_s, self.pauses, has_step=self.pace.last is not None)

    def _completed(self, steps: Steps) -> Steps:
        """Step times and MFU that follow from other fields filled in."""
        if None in steps.mfu_ratio and self._peak_flops is not None:
            steps = replace(steps, mfu_ratio=[self.mfu_of(s)[0] for s in steps])
        if not self.log_times and steps.time.count(None) < len(steps.time):
            self.log_times = True
            self.wall_.other_clock()
        if None in steps.step_time_s:
            steps = replace(steps, step_time_s=[self._step_time(s) for s in steps])
            if self.log_times:
                steps = replace(steps, step_time_s=self._from_times(steps))
        return steps

    def _step_time(self, step: Step) -> float | None:
        if step.step_time_s is not None:
            return step.step_time_s
        tokens, rate = self.facts["tokens_per_step"], step.tokens_per_second
        devices = 1 if self.facts["tokens_scope"] == "global" else self.devices
        if not tokens or not rate or not devices or rate <= 0:
            return None
        return float(tokens / (rate * devices))

    def _from_times(self, steps: Steps) -> list[float | None]:
        """Step times from the times of the lines, where nothing else tells them."""
        numbers = (self.last if self.last is not None else steps.step[0], *steps.step)
        times = (self.previous_time, *steps.time)
        between = [
            (t - s) / (b - a) if s is not None and t is not None and b > a else None
            for (a, b), (s, t) in zip(pairwise(numbers), pairwise(times), strict=True)
        ]
        mean = self.pace.step_time_s
        if self.paused and between[0] is not None and mean is not None:
            between[0] = min(between[0], mean)  # the rest was a pause
        return [d if known is None else known for known, d in zip(steps.step_time_s, between, strict=True)]

    # -- what follows -------------------------------------------------------------------------------------------------

    @property
    def devices(self) -> int | None:
        """Devices in the job."""
        return self.settings.gpus or self.facts["world_size"]

    @property
    def total_steps(self) -> int | None:
        """Steps planned."""
        if self.settings.total_steps or self.facts["total_steps"]:
            return self.settings.total_steps or self.facts["total_steps"]
        planned, tokens = self.facts["tokens_planned"], self.facts["tokens_per_step"]
        return round(planned / tokens) if planned and tokens else None

    @property
    def steps_done(self) -> int | None:
        """Steps done: a run that counts from 0 has done one more than its latest step's number."""
        return None if self.last is None else self.last + (self.first == 0)

    @property
    def progress_ratio(self) -> float | None:
        """Steps done over steps planned, 0 to 1."""
        done, total = self.steps_done, self.total_steps
        return None if done is None or not total else min(1.0, done / total)

    def mfu_of(self, step: Step) -> tuple[float | None, Literal["logged", "computed"] | None]:
        """Model FLOPs utilisation (ratio) of a step and where it comes from."""
        if step.mfu_ratio is not None:
            return step.mfu_ratio, "logged"
        mfu = computed_mfu(
            tokens_per_second=step.tokens_per_second,
            scope=self.facts["tokens_scope"],
            tflops=step.tflops,
            flops_per_token=self.settings.flops_per_token or self.facts["flops_per_token"],
            parameters=self.settings.parameters or self.facts["parameters"],
            peak_flops=self._peak_flops,
            world_size=self.devices,
        )
        return mfu, None if mfu is None else "computed"

    @property
    def _peak_flops(self) -> float | None:
        settings, facts = self.settings, self.facts
        if settings.peak_flops is not None:
            return settings.peak_flops
        precision = settings.precision or facts["precision"]
        if settings.gpu is not None:
            return peak_flops(settings.gpu, precision)
        if facts["peak_flops"] is not None and is_half(precision):  # what logs state is the peak of bf16
            return float(facts["peak_flops"])
        return peak_flops(facts["gpu"], precision) if facts["gpu"] else None

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the last planned step: steps, pauses to come, and idle time as so far."""
        done, total, step_time = self.steps_done, self.total_steps, self.pace.step_time_s
        if done is None or total is None or step_time is None:
            return None
        idle = self.wall_.other_s / self.wall_.inside_s if self.wall_.inside_s > 0 else 0.0
        return number(max(0, total - done) * step_time * (1 + idle) + self.pauses.remaining_s(total))

    @property
    def elapsed_s(self) -> float | None:
        """Seconds that the run has taken: wall time where known, steps and told pauses before that."""
        if self.last is None:
            return None
        before = self.wall_.productive_at_first if self.wall_.first is not None else self.pace.productive_s
        if self.wall_.first is None:
            before += self.pace.startup + sum(self.wall_.lost.values())
        seconds = before + self.wall_.elapsed_s
        return number(seconds) if seconds > 0 else None

    def cost(self) -> Cost | None:
        """Dollars, where the price of a device and the number of devices are known."""
        return cost_of(self.elapsed_s, self.remaining_s, self.settings.usd_per_gpu_hour, self.devices)

    def final_loss(self, reference: Reference | None = None, *, before: int | None = None) -> Interval | None:
        """The loss at the last step, with its 90 % interval. Takes milliseconds: not for every step.

        `before`: step from which on the loss tells nothing about its end, as in a spike.
        """
        total, rows = self.total_steps, self.curve_.all_rows()
        if before is not None:
            rows = [row for row in rows if (row[LAST] or 0) < before]
        return None if total is None else final_loss(rows, total, reference)

    def goodput(self) -> Goodput | None:
        """Productive over wall time since the first known moment, and where the rest went."""
        return self.wall_.goodput()

    @property
    def loss_per_1000_steps(self) -> float | None:
        """Recent slope of the loss; negative while it falls."""
        return loss_per_1000_steps(self.curve())

    @property
    def mfu_relative_spread(self) -> float | None:
        """Recent robust standard deviation of the MFU over its median."""
        return mfu_relative_spread(self.curve())

    def curve(self) -> tuple[CurvePoint, ...]:
        """At most 200 points that stay where they are while the run goes on."""
        return self.curve_.points()

    def reference(self, run: str) -> Reference:
        """This run as a baseline for another one."""
        return Reference(run, self.curve_.points(tail=True))

    def comparison(self, reference: Reference | None) -> Comparison | None:
        """This run beside a baseline at the same step."""
        return None if reference is None else compared(self.curve_.points(tail=True), reference)
