"""How well anomalies are found, and how often a healthy run is called ill.

    python tests/bench/detection.py [--suite DIR] [--full] [--pictures]

Real nanochat runs and seeded synthetic ones are always judged. Where a detection suite stands beside the repository
(`--suite`, a folder with a program `bench` that scores a command line), it is run as well. `--pictures` draws the
pictures of docs/detection.md.
"""

from __future__ import annotations

import argparse
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from detection_pictures import draw
from detection_rules import RULES

from curves import Change, between, curve, nanochat
from training_monitor.detect.engine import Engine
from training_monitor.records import Severity, Step, Steps

ROOT = Path(__file__).parents[2]
LOSS = ("loss_spike", "loss_divergence", "non_finite_loss")
TIME = ("slowdown", "mfu_drop")
MERGE = 100  # alarms so near to each other count once
N, START = 2600, 600  # points of a run, and the first at which something is injected

#: Log, what is known to be wrong in it (kinds, first and last step), and what else may be said of a shared machine.
REAL = (
    ("base_train_spike", (LOSS, 466, 505), (LOSS, 908, 935)),
    ("base_train_slow", (TIME, 223, 260), (TIME, 360, 369)),
    ("base_train_nan", (LOSS, 91, 91)),
    ("base_train_ok",),
    ("base_train_mildslow",),
    ("base_train_resume",),
    ("base_train_crash",),
    ("base_train_pty",),
    ("chat_sft",),
)


def odd_points(seed: int) -> Change:
    """The loss of one rank: one point in a hundred is far too high."""
    chance = random.Random(seed)
    return lambda i, y: y * (1 + 0.6 * chance.random() if chance.random() < 0.01 else 1)


#: Noise of a point, and what else the loss does.
NOISE: dict[str, tuple[float, Callable[[int], Change]]] = {
    "batch-averaged, 1 %": (0.01, lambda seed: lambda i, y: y),
    "one rank, 2.8 % and odd points": (0.028, odd_points),
}


def drift(part: float, points: int) -> Callable[[int], Change]:
    return lambda start: lambda i, y: y * (1 + part * min(max(i - start, 0) / points, 1))


def rise(factor: float, points: int) -> Callable[[int], Change]:
    return lambda start: between(start, start + points, factor)


SPIKES: dict[str, tuple[Callable[[int], Change], int]] = {  # injection, points in which it counts
    "1.05x for 100": (rise(1.05, 100), 105),
    "1.1x for 5": (rise(1.1, 5), 10),
    "1.24x for 5": (rise(1.24, 5), 10),
    "1.5x for 20": (rise(1.5, 20), 25),
    "2x for 5": (rise(2, 5), 10),
    "+10 % over 300": (drift(0.1, 300), 400),
    "NaN": (lambda start: lambda i, y: math.nan if i == start else y, 3),
}
SLOW: dict[str, tuple[Callable[[int], Change], int, Severity]] = {
    "MFU −5 %": (rise(1 / 0.95, 300), 30, Severity.NOTICE),
    "MFU −15 %": (rise(1 / 0.85, 300), 7, Severity.WARNING),
    "MFU −30 %": (rise(1 / 0.7, 300), 7, Severity.CRITICAL),
    "1.5x step time for 20": (rise(1.5, 20), 7, Severity.WARNING),
}
HARMLESS: dict[str, Change] = {
    "pauses each 25 steps": lambda i, x: x * (4 if i % 25 == 0 else 1),
    "pauses each 100 steps": lambda i, x: x * (8 if i % 100 == 0 else 1),
    "single slow steps": lambda i, x: x * (5 if hash((i, 7)) % 300 == 0 else 1),
    "slow first steps": between(0, 10, 20),
}


def ours(steps: list[Step], kinds: tuple[str, ...], least: Severity = Severity.WARNING) -> list[int]:
    return [e.step or 0 for e in Engine().update(steps) if e.kind in kinds and e.severity >= least]


def theirs(steps: list[Step], name: str) -> list[int]:
    rule = RULES[name]()
    return [s.step for s in steps if s.loss is not None and rule(s.loss)]


def merged(points: list[int]) -> int:
    count, last = 0, -math.inf
    for p in points:
        if p - last > MERGE:
            count, last = count + 1, p
    return count


def real() -> None:
    print("\nnanochat, real runs (warnings and above)")
    for name, *known in REAL:
        found = [e for e in Engine().update(nanochat(name)) if e.severity >= Severity.WARNING]
        hits = [any(e.kind in k and a <= (e.step or 0) <= b + 20 for e in found) for k, a, b in known]
        other = [e for e in found if not any(e.kind in k and a <= (e.step or 0) <= b + 20 for k, a, b in known)]
        said = f"{sum(hits)} of {len(hits)} found" if hits else "healthy"
        loss, slow = (sum(e.kind in kinds for e in other) for kinds in (LOSS, TIME))
        print(f"  {name:20s} {said:12s} besides: {loss} of the loss, {slow} of the step time (a shared machine)")


def spikes(runs: int) -> None:
    for noise, (sigma, odd) in NOISE.items():
        detectors = {"this": lambda steps: ours(steps, LOSS), **{n: lambda s, n=n: theirs(s, n) for n in RULES}}
        print(f"\nloss, {noise}: found at warning or above, %, and false alarms per 10,000 healthy points")
        print(f"  {'':18s}" + "".join(f"{cell:>15s}" for cell in SPIKES) + f"{'false alarms':>15s}")
        clean = [curve(N, seed, noise=sigma, change=odd(seed)) for seed in range(runs)]
        alarms = {n: [[p for p in find(run) if p >= START - 100] for run in clean] for n, find in detectors.items()}
        hits = {n: dict.fromkeys(SPIKES, 0) for n in detectors}
        for cell, (inject, window) in SPIKES.items():
            for seed in range(runs):
                start = START + random.Random(f"{cell} {seed}").randrange(N - START - 450)
                change, base = inject(start), odd(seed)
                steps = curve(
                    start + window + 1, seed, noise=sigma, change=lambda i, y, c=change, b=base: c(i, b(i, y))
                )
                for n, find in detectors.items():
                    was = any(start - 10 <= p <= start + window for p in alarms[n][seed])
                    hits[n][cell] += not was and any(start <= p < start + window for p in find(steps))
        for n in detectors:
            rate = 1e4 * sum(merged(points) for points in alarms[n]) / (runs * (N - START))
            print(f"  {n:18s}" + "".join(f"{100 * k / runs:15.0f}" for k in hits[n].values()) + f"{rate:15.1f}")


def times(runs: int) -> None:
    print("\nstep time and MFU: found in time, %, and logs with a warning although nothing is wrong")
    for cell, (inject, window, least) in SLOW.items():
        hits = 0
        for seed in range(runs):
            start = START + random.Random(f"{cell} {seed}").randrange(N - START - 350)
            found = ours(curve(start + window, seed, time=inject(start)), TIME, least)
            hits += any(start <= p < start + window for p in found)
        print(f"  {cell:28s} {100 * hits / runs:4.0f}   within {window} steps")
    for name, change in HARMLESS.items():
        ill = sum(bool(ours(curve(N, seed, time=change), TIME)) for seed in range(runs))
        print(f"  {name:28s} {ill:4d} of {runs} logs with a warning")


def plateaus(runs: int) -> None:
    def healthy(step: float) -> float:
        return 2.0 + 8.0 * (step + 20) ** -0.35

    hits, false = 0, 0
    for seed in range(runs):
        start = random.Random(seed).randrange(900, 2400)
        frozen = curve(5000, seed, change=lambda i, y, s=start: y if i < s else y * healthy(s) / healthy(i))
        hits += any(p >= start for p in ours(frozen, ("plateau",)))
        false += len(ours(curve(8000, seed), ("plateau",)))
    print(
        f"\nplateau: {100 * hits / runs:.0f} % of frozen trends found, {false} alarms in {runs * 8000} healthy points"
    )


def norms(n: int, seed: int, change: Change = lambda i, y: y) -> list[Step]:
    """A healthy curve with gradient norms as in logs of llm.c and build-nanogpt: 9 % noise that lasts, odd batches."""
    chance, wander, steps = random.Random(seed), 0.0, []
    for step in curve(n, seed):
        wander = 0.4 * wander + chance.gauss(0, 0.08)
        odd = chance.uniform(1.5, 4.5) if chance.random() < 0.001 else 1.0
        steps.append(step._replace(grad_norm=change(step.step, 0.3 * math.exp(wander) * odd)))
    return steps


def grad_norms(runs: int) -> None:
    kinds = ("grad_norm_spike",)
    print("\ngradient norm: found at notice, warning, critical, %")
    for factor, points in ((6, 1), (6, 2), (12, 1), (12, 2), (100, 1), (100, 5)):
        found = dict.fromkeys(Severity, 0)
        for seed in range(runs):
            start = START + random.Random(f"{factor} {points} {seed}").randrange(N - START - 50)
            steps = norms(start + points + 5, seed, between(start, start + points, factor))
            for least in Severity:
                found[least] += any(p >= start for p in ours(steps, kinds, least))
        print(f"  {f'{factor}x for {points}':18s}" + "".join(f"{100 * k / runs:8.0f}" for k in found.values()))
    false = [[p for seed in range(runs) for p in ours(norms(N, seed), kinds, least)] for least in Severity]
    print(f"  {'healthy':18s}" + "".join(f"{len(p):8d}" for p in false) + f" events in {runs * N} points")


def cost() -> None:
    steps = Steps.of([s._replace(grad_norm=1.0 + s.step % 7 / 10, tokens_per_second=5e5) for s in curve(60_000)])
    batches = [steps[i : i + 256] for i in range(0, len(steps), 256)]
    best = math.inf
    for _ in range(5):
        engine, began = Engine(), time.process_time()
        for batch in batches:
            engine.update(batch)
        best = min(best, time.process_time() - began)
    print(f"\ncost of all detectors: {1e6 * best / len(steps):.1f} µs a step in catch-up")


def suite(folder: Path, is_full: bool) -> None:
    command = f"{sys.executable} -m training_monitor replay {{log}} --output jsonl"
    extra = [] if is_full else ["--quick"]
    subprocess.run([sys.executable, str(folder / "bench"), "--cmd", command, *extra], check=True, cwd=ROOT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", type=Path, default=ROOT.parent / "shared/detection", metavar="DIR")
    parser.add_argument("--full", action="store_true", help="all of the suite: minutes")
    parser.add_argument("--runs", type=int, default=40, help="synthetic runs in a cell")
    parser.add_argument("--pictures", action="store_true", help="draw docs/images/detection-*.svg and stop")
    args = parser.parse_args()
    if args.pictures:
        return draw(ROOT / "docs/images")
    real()
    spikes(args.runs)
    times(args.runs)
    plateaus(args.runs)
    grad_norms(args.runs)
    cost()
    if (args.suite / "bench").exists():
        suite(args.suite, args.full)
    return None


if __name__ == "__main__":
    main()
