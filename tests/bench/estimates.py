"""How good the estimates are: final loss with its interval, and time remaining, on runs whose end is known.

    python tests/bench/estimates.py [--suite dev.npz] [--runs 40]

Seeded synthetic runs are always judged; real runs are too where there is a file of them (arrays `loss`,
`dt`, `lr` and step differences `step` of all runs end to end, and `meta`: JSON with name, set, family, start and n).
An estimate is made with what was logged up to 25, 50 and 75 % of a run; the truth is the mean of its last 2 %.

Columns: runs; part of them with an answer; error in % of the truth, median and 90th percentile; goal for the median;
truths within the 90 % interval; its median half width in %; and two floors, medians in %: the error if the rest of the
learning rate were known (where the log tells the real one), and the noise of the truth itself.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from training_monitor.estimate import law
from training_monitor.estimate.baseline import Reference
from training_monitor.estimate.estimator import EstimateSettings, Estimator
from training_monitor.estimate.schedule import Future
from training_monitor.records import Interval, Step

SUITE = Path(__file__).parents[3] / "shared/detection/dev.npz"
PARTS = (0.25, 0.5, 0.75)
ETA_PARTS = tuple(i / 20 for i in range(2, 20))
GOAL, GOAL_REFERENCE = dict(zip(PARTS, (1.5, 0.6, 0.4), strict=True)), dict(zip(PARTS, (0.35, 0.25, 0.2), strict=True))
GOAL_ETA = "0.5 / 3"


@dataclass(frozen=True)
class Run:
    name: str
    group: str
    family: str
    source: str  # "synthetic" or "suite"
    steps: list[Step]
    has_step_time: bool = False
    has_learning_rate: bool = True  # the real one
    estimators: dict[float, Estimator] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.steps[-1].step + (self.steps[0].step == 0)

    def until(self, part: float) -> Estimator:
        if part not in self.estimators:
            estimator = Estimator(EstimateSettings(total_steps=self.total))
            estimator.update(self.steps[: int(part * len(self.steps))])
            self.estimators[part] = estimator
        return self.estimators[part]

    def last(self) -> list[float]:
        """The losses of the end, without the lowest and highest eighth."""
        last = sorted(s.loss for s in self.steps[-max(30, len(self.steps) // 50) :] if s.loss is not None)
        return last[len(last) // 8 : -(len(last) // 8)]

    def end(self) -> float:
        return math.fsum(self.last()) / len(self.last())

    def noise(self) -> float:
        """Median error in % that the noise of the end alone makes, from the quartiles of its middle three quarters."""
        last = self.last()
        spread = (last[3 * len(last) // 4] - last[len(last) // 4]) / 0.978  # of a Gaussian
        return 100 * 0.6745 * spread / math.sqrt(len(last) * 4 / 3) / self.end()

    def future(self, part: float) -> Future:
        """How the learning rate really goes on."""
        rate = np.array([s.learning_rate for s in self.steps], dtype=float)
        width = np.diff([s.step for s in self.steps], prepend=self.steps[0].step)
        n, end = int(part * len(rate)), max(1, len(rate) // 50)
        peak = rate[:n].max()
        return Future(1.0, float(rate[-end:].mean() / peak), float((rate * width)[n : -max(1, end // 2)].sum() / peak))


def wsd(t: float, decay: float) -> float:
    return min(1.0, (1 - t) / decay)


SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda t: 0.1 + 0.45 * (1 + math.cos(math.pi * t)),
    "linear": lambda t: 1 - t,
    "warm-down": lambda t: wsd(t, 0.4),
    "WSD": lambda t: wsd(t, 0.15),
    "WSD, root": lambda t: 1 - math.sqrt(max(0.0, (t - 0.8) / 0.2)),
    "warm-down to 5 %": lambda t: max(0.05, wsd(t, 0.6)),
    "steps": lambda t: 1.0 if t < 0.6 else 0.316 if t < 0.85 else 0.1,
    "constant": lambda t: 1.0,
}


def synthetic(n: int) -> Iterator[Run]:
    """Pairs of sister runs after the law of Tissue et al. (arXiv 2408.11029, momentum 0.99), n in all.

    Warm-up of 1 %, noise of 0.3 to 4 %, one in four with heavy tails. Sisters share their noise but for a tenth of it.
    """
    for i in range(n // 2):
        rng = np.random.default_rng(i)
        name = list(SCHEDULES)[i % len(SCHEDULES)]
        total = int(rng.choice([3000, 8000, 20000]))
        rate = np.array([SCHEDULES[name](s / total) * min(1.0, (s + 1) / (0.01 * total)) for s in range(total)])
        loss = lawful(rng, rate)
        size = math.exp(rng.uniform(math.log(0.003), math.log(0.04)))
        noise = rng.standard_t(4, total) / math.sqrt(2) if i // 3 % 4 == 3 else rng.normal(0, 1, total)
        for sister in range(2):
            own = noise + 0.1 * rng.normal(0, 1, total)
            losses = loss * (1 + size * own) * (1 + 0.002 * rng.normal())
            rows = zip(losses.tolist(), (6e-4 * rate).tolist(), strict=True)
            steps = [Step(s, loss=x, learning_rate=lr) for s, (x, lr) in enumerate(rows)]
            yield Run(f"{name} {i} {sister}", name, f"synthetic {i}", "synthetic", steps)


def lawful(rng: np.random.Generator, rate: NDArray[np.float64]) -> NDArray[np.float64]:
    """Losses that end at 1.8 to 3.5, of which 10 to 40 % can still be won, 2 to 6 % by annealing."""
    end, share, exponent, win = (
        rng.uniform(1.8, 3.5),
        rng.uniform(0.1, 0.4),
        rng.uniform(0.3, 0.6),
        rng.uniform(0.02, 0.06),
    )
    area = 30 + np.cumsum(rate)
    momentum, annealed = 0.0, np.zeros_like(rate)
    peak = int(rate.argmax())
    for i in range(peak + 1, len(rate)):
        momentum = 0.99 * momentum + 0.01 * (rate[i - 1] - rate[i])
        annealed[i] = annealed[i - 1] + momentum
    loss: NDArray[np.float64] = end * (1 - share + share * (area / area[-1]) ** -exponent - win * annealed)
    return loss


def suite(path: Path) -> Iterator[Run]:
    """The runs of a detection suite. Sets A and M do not tell the real learning rate."""
    data = dict(np.load(path))
    for m in json.loads(str(data["meta"]))["runs"]:
        part = slice(m["start"], m["start"] + m["n"])
        columns = (np.cumsum(data["step"][part]), data["loss"][part], data["lr"][part], data["dt"][part])
        rows = zip(*(c.astype(float).tolist() for c in columns), strict=True)
        steps = [Step(int(s), loss=x, learning_rate=lr, step_time_s=max(dt, 1e-5)) for s, x, lr, dt in rows]
        group = f"{m['set']} {m['family']}"[:20]
        yield Run(m["name"], group, m["family"], "suite", steps, m["real_dt"], m["set"] in "BC")


@dataclass(frozen=True)
class Judged:
    """One estimate beside the truth, in %."""

    error: float | None  # None: no answer
    width: float = 0.0
    is_inside: bool = False
    error_known: float | None = None  # of an estimate that knows the rest of the learning rate
    noise: float = 0.0


def judged(run: Run, found: Interval | None, known: Interval | None = None) -> Judged:
    end = run.end()
    error_known = None if known is None else 100 * abs(known.estimate / end - 1)
    if found is None:
        return Judged(None, error_known=error_known, noise=run.noise())
    width = 50 * (found.high - found.low) / found.estimate
    inside = found.low <= end <= found.high
    return Judged(100 * abs(found.estimate / end - 1), width, inside, error_known, run.noise())


def final_loss(runs: Sequence[Run]) -> None:
    header("final loss without a reference")
    for part in PARTS:
        rows: dict[str, list[Judged]] = defaultdict(list)
        for run in runs:
            known = None
            if run.has_learning_rate:
                with mock.patch.object(law, "futures", return_value=[run.future(part)]):
                    known = run.until(part).final_loss()
            row = judged(run, run.until(part).final_loss(), known)
            rows[run.group].append(row)
            rows[f"all {run.source}"].append(row)
        table(part, rows, GOAL[part])


def with_reference(runs: Sequence[Run]) -> None:
    header("final loss with a run of the same family and about the same length as reference")
    pairs = [
        (a, b) for a, b in permutations(runs, 2)
        if a.family == b.family and (a.source, b.group[:1]) != ("suite", "C") and 0.95 < a.total / b.total < 1.05
    ]  # fmt: skip
    references: dict[str, Reference] = {b.name: b.until(1.0).reference(b.name) for _, b in pairs}
    for part in PARTS:
        rows: dict[str, list[Judged]] = defaultdict(list)
        for a, b in pairs:
            row = judged(a, a.until(part).final_loss(references[b.name]))
            if a.source == "suite":
                rows[a.group].append(row)
            rows[f"all {a.source}"].append(row)
        table(part, rows, GOAL_REFERENCE[part])


def header(title: str) -> None:
    print(f"\n{title}\n" + " " * 28 + "runs  answer  median /   p90  goal  inside  ± %    LR known  noise")


def table(part: float, rows: dict[str, list[Judged]], goal: float) -> None:
    for group, found in sorted(rows.items()):
        known = [row for row in found if row.error is not None]
        errors, lr = [row.error for row in known], [r.error_known for r in found if r.error_known is not None]
        numbers = "     - /     -         -         - " if not known else (
            f"{np.median(errors):6.2f} /{np.quantile(errors, 0.9):6.2f}  {goal:4}"  # type: ignore[arg-type]
            f"  {np.mean([r.is_inside for r in known]):5.0%}  ±{np.median([r.width for r in known]):5.2f}"
        )  # fmt: skip
        floors = f"{f'{np.median(lr):.2f}' if lr else '-':>6}  {np.median([r.noise for r in found]):5.2f}"
        print(f"  {part:3.0%} {group:20} {len(found):5}  {len(known) / len(found):5.0%}  {numbers}    {floors}")


def remaining(runs: Sequence[Run]) -> None:
    print(f"\ntime remaining, error % of the true one: median / p90 (goal {GOAL_ETA})")
    pooled: list[float] = []
    for part in ETA_PARTS:
        errors = []
        for run in runs:
            n, steps = int(part * len(run.steps)), run.steps
            rest = zip(steps[n - 1 :], steps[n:], strict=False)
            true = sum((s.step_time_s or 0.0) * (s.step - before.step) for before, s in rest)
            found = run.until(part).remaining_s
            if found is not None and true > 0:
                errors.append(100 * abs(found / true - 1))
        pooled += errors
        if errors and part in (0.1, 0.25, 0.5, 0.75, 0.9):
            print(f"  at {part:3.0%}  {np.median(errors):5.2f} /{np.quantile(errors, 0.9):6.2f}   ({len(errors)} runs)")
    if pooled:
        print(f"  from 10 % to 95 %: {np.median(pooled):.2f} / {np.quantile(pooled, 0.9):.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--suite", type=Path, default=SUITE, metavar="FILE", help="real runs; skipped if missing (default: %(default)s)"
    )
    parser.add_argument("--runs", type=int, default=80, help="synthetic runs (default: %(default)s)")
    args = parser.parse_args()
    runs = list(synthetic(args.runs))
    if args.suite.exists():
        runs += suite(args.suite)
    else:
        print(f"{args.suite} does not exist: synthetic runs only")
    final_loss(runs)
    with_reference(runs)
    remaining([run for run in runs if run.has_step_time])
    return 0


if __name__ == "__main__":
    sys.exit(main())
