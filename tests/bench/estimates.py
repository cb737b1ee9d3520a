"""How good the estimates are: final loss with its interval, and time remaining, on runs whose end is known.

    python tests/bench/estimates.py [--suite dev.npz] [--runs 24]

Seeded synthetic runs are always judged; real runs are too where `--suite` points at a file of them (arrays `loss`,
`dt`, `lr` and step differences `step` of all runs end to end, and `meta`: JSON with name, set, family, start and n).
An estimate is made with what was logged up to 25, 50 and 75 % of a run; the truth is the mean of its last 2 %.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np

from training_monitor.estimate.baseline import Reference
from training_monitor.estimate.estimator import EstimateSettings, Estimator
from training_monitor.records import Step

PARTS = (0.25, 0.5, 0.75)
ETA_PARTS = tuple(i / 20 for i in range(2, 20))


@dataclass(frozen=True)
class Run:
    name: str
    group: str
    family: str
    steps: list[Step]
    has_step_time: bool

    @property
    def total(self) -> int:
        return self.steps[-1].step + (self.steps[0].step == 0)

    def until(self, part: float) -> Estimator:
        estimator = Estimator(EstimateSettings(total_steps=self.total))
        estimator.update(self.steps[: int(part * len(self.steps))])
        return estimator

    def end(self) -> float:
        last = sorted(s.loss for s in self.steps[-max(30, len(self.steps) // 50) :] if s.loss is not None)
        cut = len(last) // 8
        return sum(last[cut:-cut]) / len(last[cut:-cut])


def synthetic(n: int) -> Iterator[Run]:
    """Runs after the law of Tissue et al. (arXiv 2408.11029) with white noise, under four schedules."""
    schedules = {
        "cosine": lambda t: 0.1 + 0.45 * (1 + math.cos(math.pi * t)),
        "linear": lambda t: 1 - t,
        "warm-down": lambda t: min(1.0, (1 - t) / 0.4),
        "constant": lambda t: 1.0,
    }
    for i in range(n):
        name = list(schedules)[i % len(schedules)]
        rng = np.random.default_rng(i)
        total = int(rng.choice([3000, 8000, 20000]))
        rate = np.array([schedules[name](s / total) for s in range(total)])
        level, gain, power, win = (
            rng.uniform(1.5, 3),
            rng.uniform(8, 30),
            rng.uniform(0.35, 0.6),
            rng.uniform(0.02, 0.05),
        )
        loss = level * (1 + win * rate) + gain * (30 + np.cumsum(rate)) ** -power
        loss *= 1 + rng.normal(0, rng.uniform(0.004, 0.02), total)
        rows = zip(loss.tolist(), rate.tolist(), strict=True)
        steps = [Step(s, loss=x, learning_rate=6e-4 * lr) for s, (x, lr) in enumerate(rows)]
        yield Run(f"{name} {i}", f"synthetic {name}", "synthetic", steps, has_step_time=False)


def suite(path: Path) -> Iterator[Run]:
    """The runs of a detection suite."""
    data = dict(np.load(path))
    for m in json.loads(str(data["meta"]))["runs"]:
        part = slice(m["start"], m["start"] + m["n"])
        columns = (np.cumsum(data["step"][part]), data["loss"][part], data["lr"][part], data["dt"][part])
        rows = zip(*(c.astype(float).tolist() for c in columns), strict=True)
        steps = [Step(int(s), loss=x, learning_rate=lr, step_time_s=max(dt, 1e-5)) for s, x, lr, dt in rows]
        yield Run(m["name"], f"set {m['set']}", m["family"], steps, m["real_dt"])


def final_loss(runs: list[Run]) -> None:
    print("\nfinal loss without a reference: runs, no answer, error % median / p90, in the 90 % interval, ± %")
    for part in PARTS:
        rows: dict[str, list[tuple[float, bool, float] | None]] = defaultdict(list)
        for run in runs:
            found = run.until(part).final_loss()
            row = None
            if found is not None:
                width = (found.high - found.low) / 2 / found.estimate
                row = (abs(found.estimate / run.end() - 1), found.low <= run.end() <= found.high, width)
            rows[run.group].append(row)
            rows["all"].append(row)
        table(part, rows)


def with_reference(runs: list[Run]) -> None:
    print("\nfinal loss with a sister run of the same length as reference")
    pairs = [
        (a, b) for a, b in permutations(runs, 2)
        if a.family == b.family and "synthetic" not in a.family and 0.95 < a.total / b.total < 1.05
    ]  # fmt: skip
    references: dict[str, Reference] = {}
    for run in {b.name: b for _, b in pairs}.values():
        references[run.name] = run.until(1.0).reference(run.name)
    for part in PARTS:
        rows: dict[str, list[tuple[float, bool, float] | None]] = defaultdict(list)
        for a, b in pairs:
            found = a.until(part).final_loss(references[b.name])
            row = None
            if found is not None:
                width = (found.high - found.low) / 2 / found.estimate
                row = (abs(found.estimate / a.end() - 1), found.low <= a.end() <= found.high, width)
            rows[a.family].append(row)
            rows["all"].append(row)
        table(part, rows)


def table(part: float, rows: dict[str, list[tuple[float, bool, float] | None]]) -> None:
    for group, found in sorted(rows.items()):
        known = [row for row in found if row is not None]
        errors = [100 * row[0] for row in known]
        numbers = "-" if not known else (
            f"{np.median(errors):5.2f} /{np.quantile(errors, 0.9):6.2f}  {np.mean([row[1] for row in known]):5.0%}"
            f"  ± {100 * np.median([row[2] for row in known]):.2f}"
        )  # fmt: skip
        print(f"  at {part:3.0%}  {group:20} {len(found):4} {len(found) - len(known):4}  {numbers}")


def remaining(runs: list[Run]) -> None:
    print("\ntime remaining, error % of the true one: median / p90")
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
    parser.add_argument("--suite", type=Path, help="file of real runs; skipped if it does not exist")
    parser.add_argument("--runs", type=int, default=24, help="synthetic runs (default: %(default)s)")
    args = parser.parse_args()
    runs = list(synthetic(args.runs))
    if args.suite is not None and args.suite.exists():
        runs += suite(args.suite)
    elif args.suite is not None:
        print(f"{args.suite} does not exist: synthetic runs only")
    final_loss(runs)
    with_reference(runs)
    remaining([run for run in runs if run.has_step_time])
    return 0


if __name__ == "__main__":
    sys.exit(main())
