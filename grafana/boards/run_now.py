"""How a run is doing now: numbers, and what they are of the usual."""

from __future__ import annotations

from typing import Any

from boards.board import ONE_RUN
from boards.panels import bar, query, stat
from boards.style import (
    BLUE,
    CRITICAL,
    GREEN,
    PLAIN,
    STATES,
    UNKNOWN,
    WARNING,
    Json,
    above,
    below,
    limits,
    override,
    steps,
    words,
)

ALARMING = 'severity=~"warning|critical"'
NAMED: Json = {"show": "value_and_name", "empty": UNKNOWN}


def now(metric: str, matchers: str = "") -> str:
    return f"max({metric}{{{ONE_RUN}{matchers}}})"


def level(title: str, description: str, value: str, usual: str, *, name: str, **more: Any) -> Json:
    """A value, and under it what it is of the usual; the colour follows the threshold table."""
    queries = [query(value, "now", instant=True), query(usual, name, instant=True)]
    relative: Json = {"unit": more.pop("relative"), "decimals": 2, "thresholds": more.pop("limits")}
    return stat(title, description, queries, overrides=[override(name, **relative)], **NAMED, **more)


def first_line() -> tuple[Json, ...]:
    state = [query(f"max by (state) (training_run_state{{{ONE_RUN}}} == 1)", table=True)]
    cost = [
        query(now("training_cost_dollars"), "so far", instant=True),
        query(now("training_cost_estimated_dollars"), "at the end", instant=True),
    ]
    remaining = now("training_remaining_seconds")
    where = [
        query(now("training_step"), "now", instant=True),
        query(now("training_steps_planned"), "planned", instant=True),
        query(remaining, "left", instant=True),
        query(f"(time() + {remaining}) * 1000", "ends", instant=True),
    ]
    return (
        stat(
            "State",
            "What the log says about the run. Healthy: running, or finished. "
            "Stalled: no new step for far longer than this run's own rhythm.",
            state,
            unit="none",
            w=3,
            fields="/^state$/",
            background=True,
            mappings=words(STATES),
        ),
        bar(
            "Progress",
            "Part of the planned training that is done.",
            [query(now("training_progress_ratio"), " ", instant=True)],
            unit="percentunit",
            w=4,
            h=3,
            min=0,
            max=1,
            decimals=1,
            empty="the plan is not known",
            color={"mode": "thresholds"},
            thresholds=steps((BLUE, None), (GREEN, 1)),
        ),
        stat(
            "Step",
            "Latest step that the log shows, the one at which the run is to end, the time until then (with evaluations "
            "and checkpoints counted) and the moment when it will come.",
            where,
            unit="locale",
            w=9,
            decimals=0,
            overrides=[
                override("left", unit="s", decimals=1),
                override("ends", unit="time:ddd HH:mm"),
            ],
            **NAMED,
        ),
        stat(
            "Cost",
            "US dollars so far and at the planned end, at the price in exporter.yml (cost.usd_per_gpu_hour).",
            cost,
            unit="currencyUSD",
            show="value_and_name",
            empty="no price set",
        ),
        stat(
            "Anomalies",
            "Warnings and critical anomalies that go on now, those of the last 24 hours, and how often the run was "
            "resumed. Healthy: 0 active.",
            [
                query(f"sum(training_anomaly_active{{{ONE_RUN},{ALARMING}}})", "active", instant=True),
                query(
                    f"round(sum(increase(training_anomalies_total{{{ONE_RUN},{ALARMING}}}[24h])))",
                    "24 h",
                    instant=True,
                ),
                query(now("training_restarts_total"), "restarts", instant=True),
            ],
            unit="none",
            show="value_and_name",
            overrides=[
                override("active", thresholds=steps((PLAIN, None), (CRITICAL, 1))),
                override("24 h", thresholds=steps((PLAIN, None), (WARNING, 1))),
            ],
        ),
    )


def second_line() -> tuple[Json, ...]:
    spike, mfu, slow, plateau = (limits(kind) for kind in ("loss_spike", "mfu_drop", "slowdown", "plateau"))
    final = [
        query(now("training_final_loss_estimate", f',bound="{bound}"'), name, instant=True)
        for bound, name in (("estimate", "expected"), ("low", "at best"), ("high", "at worst"))
    ]
    loss = f"max((training_loss_raw{{{ONE_RUN}}} or training_loss{{{ONE_RUN}}}) / training_loss_baseline{{{ONE_RUN}}})"
    return (
        stat(
            "Loss",
            "Training loss as the log shows it, nats per token; the latest step's own loss as a multiple of its recent "
            f"level (healthy: about 1; orange from {spike[0]:g}, red from {spike[1]:g}); steps since it last fell by "
            f"1 % (grows late in a run; orange from {plateau[0]:g}, red from {plateau[1]:g}).",
            [
                query(now("training_loss"), "now", instant=True),
                query(loss, "× recent level", instant=True),
                query(now("training_steps_since_improvement"), "steps flat", instant=True),
            ],
            unit="none",
            w=8,
            decimals=3,
            overrides=[
                override("× recent level", decimals=2, thresholds=above(*spike)),
                override("steps flat", unit="locale", decimals=0, thresholds=above(*plateau)),
            ],
            **NAMED,
        ),
        stat(
            "Final loss",
            "Training loss expected at the planned end, nats per token; 9 of 10 runs end between best and worst.",
            final,
            unit="none",
            decimals=3,
            show="value_and_name",
            empty="too early to tell",
        ),
        level(
            "MFU",
            "Model FLOPs utilisation, and its running median as a part of this run's usual. Healthy: about 100 %. "
            f"Orange below {1 - mfu[0]:.0%}, red below {1 - mfu[1]:.0%}.",
            now("training_mfu_ratio"),
            f"{now('training_mfu_recent_ratio')} / {now('training_mfu_baseline_ratio')}",
            unit="percentunit",
            name="of usual",
            relative="percentunit",
            limits=below(1 - mfu[0], 1 - mfu[1]),
            decimals=1,
        ),
        level(
            "Step time",
            "Time of the latest step, and its running median as a multiple of this run's usual. Healthy: about 1. "
            f"Orange from {slow[0]:g}, red from {slow[1]:g}.",
            now("training_step_duration_seconds"),
            f"{now('training_step_duration_recent_seconds')} / {now('training_step_duration_baseline_seconds')}",
            unit="s",
            name="× usual",
            relative="none",
            limits=above(*slow),
            decimals=2,
        ),
        stat(
            "Tokens",
            "Tokens trained on per second, for the whole job where the log tells its size, and in total.",
            [
                query(now("training_tokens_per_second"), "per second", instant=True),
                query(now("training_tokens_total"), "so far", instant=True),
            ],
            unit="si: tok/s",
            empty=UNKNOWN,
            decimals=2,
            overrides=[override("so far", unit="si: tok")],
        ),
    )
