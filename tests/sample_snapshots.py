"""Snapshots of runs as reports meet them."""

from __future__ import annotations

import math

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
    Validation,
)

H100S = Facts(format="nanochat", gpu="NVIDIA H100 80GB HBM3", world_size=8, loss_kind="moving average (0.9)")
CURVE = tuple(CurvePoint(s, 2.4 + 8 / (1 + s / 100), 0.641, 0.511) for s in range(63, 8349, 64))

HEALTHY = Snapshot(
    run="d20-climbmix",
    source="/runs/d20/training.log",
    state="running",
    facts=H100S,
    runs=1,
    step=8349,
    first_step=0,
    steps_seen=8350,
    total_steps=16704,
    progress_ratio=8350 / 16704,
    loss=2.689639,
    best_loss=2.681,
    validations={"bits_per_byte": Validation("bits_per_byte", 0.791234, 8250), "core": Validation("core", 0.21, 8000)},
    lr_multiplier=1.0,
    mfu_ratio=0.5112,
    mfu_source="logged",
    step_time_s=0.64106,
    tokens_per_second=817841.0,
    tokens_scope="global",
    levels=Levels(steps_since_improvement=40, step_time_baseline=0.64, step_time_recent=0.6415),
    loss_per_1000_steps=-0.0321,
    mfu_relative_spread=0.004,
    remaining_s=5392.0,
    final_loss=Interval(2.4512, 2.4102, 2.4922),
    cost=Cost(25.6, 52.9),
    goodput=Goodput(0.931, 5750.0, 5353.0, {"startup": 62.0, "evaluation": 310.0, "other": 25.0}),
    comparison=Comparison("d20-july", 8319, 2.69, 2.75, 0.5112, 0.502, 0.641, 0.652, 412.0),
    target_loss=2.45,
    curve=CURVE,
    last_step_time=1_795_370_000.0,
)

TROUBLED = Snapshot(
    run="d12-bad-day",
    source="/runs/d12/training.log",
    state="running",
    facts=Facts(format="nanogpt", total_steps=20000),
    runs=2,
    restarts=1,
    step=12010,
    first_step=0,
    steps_seen=12011,
    total_steps=20000,
    progress_ratio=12011 / 20000,
    loss=3.61,
    best_loss=2.88,
    learning_rate=0.00031,
    grad_norm=4.2,
    mfu_ratio=0.28,
    mfu_source="computed",
    step_time_s=12.31,
    levels=Levels(steps_since_improvement=520, step_time_baseline=8.1, step_time_recent=12.3),
    loss_per_1000_steps=0.71,
    mfu_relative_spread=0.08,
    remaining_s=98340.0,
    target_loss=2.7,
    curve=CURVE,
    events=(
        Event(400, "loss_spike", Severity.NOTICE, 6.1, 5.0, "loss 6.1 at step 400 is 1.22x its recent level 5.0"),
        Event(
            11800, "slowdown", Severity.WARNING, 12.3, 8.1, "step time 12.3 s at step 11800 is 1.52x the usual 8.1 s"
        ),
        Event(12001, "loss_spike", Severity.WARNING, 3.6, 2.9, "loss 3.6 at step 12001 is 1.24x its recent level 2.9"),
        Event(12004, "loss_spike", Severity.CRITICAL, 5.9, 2.9, "loss 5.9 at step 12004 is 2.03x its recent level 2.9"),
    ),
    active={"loss_spike": Severity.CRITICAL, "slowdown": Severity.WARNING},
)

CRASHED = Snapshot(
    run="d34",
    source="/runs/d34/training.log",
    state="crashed",
    facts=Facts(format="torchtitan", world_size=8, tokens_scope="device"),
    runs=1,
    step=1500,
    first_step=1,
    steps_seen=1500,
    loss=math.nan,
    best_loss=2.9,
    tokens_per_second=11_399.0,
    tokens_scope="device",
    events=(
        Event(1490, "non_finite_loss", Severity.CRITICAL, math.nan, 2.95, "loss is nan at step 1490"),
        Event(
            1500,
            "crashed",
            Severity.CRITICAL,
            None,
            None,
            "run crashed after step 1500: cuda_oom: torch.OutOfMemoryError: CUDA out of memory.",
        ),
    ),
    active={"crashed": Severity.CRITICAL, "non_finite_loss": Severity.CRITICAL},
    failures=(
        Failure("cuda_oom", "torch.OutOfMemoryError: CUDA out of memory.", line=3120),
        Failure("torchrun_failed", "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:", line=3140),
    ),
)

WAITING = Snapshot(run="not-yet", source="/runs/new/training.log")

#: What a log must not be able to do: move the cursor, become markup, break JSON, pretend to be another line.
EVIL = '\x1b[2J\x1b]0;pwned\x07<script>alert("1")</script>|a|`b`*c*[d](javascript:e)\r\n# f\u202eg\x00\u2028\ud800'
HOSTILE = Snapshot(
    run=EVIL,
    source=EVIL,
    state="crashed",
    facts=Facts(format=EVIL, gpu=EVIL, loss_kind=EVIL),
    step=1,
    first_step=1,
    steps_seen=1,
    loss=1.0,
    validations={EVIL: Validation(EVIL, math.inf)},
    comparison=Comparison(EVIL, 1, 1.0, 2.0),
    events=(Event(1, EVIL, Severity.CRITICAL, -math.inf, math.nan, EVIL),),
    active={EVIL: Severity.CRITICAL},
    failures=(Failure(EVIL, EVIL),),
    goodput=Goodput(0.5, 10.0, 5.0, {EVIL: 5.0}),
)

SAMPLES = {"healthy": HEALTHY, "troubled": TROUBLED, "crashed": CRASHED, "waiting": WAITING}
