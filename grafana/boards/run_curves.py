"""What a run learns: loss, learning rate, gradient, validation."""

from __future__ import annotations

from boards.board import ONE_RUN
from boards.panels import lines, query
from boards.step_axis import BASELINE, against_step, curves_by_step
from boards.style import (
    BLUE,
    CRITICAL,
    GREEN,
    GREY,
    ROUGH,
    UNKNOWN,
    Json,
    dashed,
    fixed,
    limits,
    override,
)

DOT: Json = {"custom.pointSize.fixed": 10}
POINTS: Json = {"custom_drawStyle": "points", "custom_pointSize": 7, "custom_showPoints": "always"}


def smooth(metric: str, selector: str) -> str:
    """Mean over the chosen time. NaN and infinity, which one bad step brings, are left out."""
    return f"avg_over_time(({metric}{{{selector}}} < Inf)[$smoothing:])"


def learning() -> tuple[Json, ...]:
    over_time = [
        query(smooth("training_loss", ONE_RUN), "{{run}}", ref="smooth"),
        query(f"training_loss{{{ONE_RUN}}}", "{{run}} as logged", ref="logged"),
        query(f"training_validation_loss{{{ONE_RUN}}}", "{{run}} validation", ref="validation"),
        query(f"training_baseline_loss{{{ONE_RUN}}}", "{{run}}: its baseline at the same step", ref="reference"),
        query(smooth("training_loss", BASELINE), "baseline {{run}}", ref="baseline"),
        query(f"training_target_loss{{{ONE_RUN}}}", "{{run}}: goal", ref="goal"),
    ]
    by_step = curves_by_step()
    compare = [
        override(
            "^baseline ",
            regex=True,
            color=fixed(BLUE),
            custom_show="lines",
            custom_lineStyle={"fill": "dash", "dash": [8, 6]},
        ),
        override(
            "^loss_(spike|divergence) in ",
            regex=True,
            color=fixed(CRITICAL),
            custom_show="points",
            **DOT,
        ),
    ]
    return (
        lines(
            "Loss over time",
            "Training loss, nats per token: grey as logged, in colour its mean over the chosen smoothing; points are "
            "validation loss. Healthy: falls steeply at first, then ever more slowly; validation follows. "
            "Blue: the baseline run, at the same step (from exporter.yml) or at the same time (chosen above).",
            over_time,
            unit="none",
            axis="nats per token",
            overrides=[
                override("logged", query=True, **ROUGH),
                override("validation", query=True, **POINTS),
                override("reference", query=True, **dashed(BLUE)),
                override("baseline", query=True, **dashed(BLUE, pattern=(2, 4))),
                override("goal", query=True, **dashed(GREEN)),
            ],
        ),
        against_step(
            "Loss against step",
            "The same loss over the steps of the run: at most 200 points a run, each the average of its stretch, that "
            "stay where they are. Several runs lie over each other, whenever they ran. Dashed blue: the baseline run. "
            "Red dots: the step's own loss at the last spike or divergence. Healthy: falls, on the baseline or below.",
            by_step,
            overrides=compare,
        ),
        lines(
            "Learning rate",
            "As logged; where the log shows only the factor of the schedule, that. "
            "Healthy: warms up, holds or decays as you planned, without jumps.",
            [
                query(f"training_learning_rate{{{ONE_RUN}}}", "{{run}}"),
                query(f"training_learning_rate_multiplier{{{ONE_RUN}}}", "{{run}} factor"),
            ],
            unit="sci",
            w=6,
            h=7,
            empty=UNKNOWN,
        ),
        lines(
            "Gradient norm",
            "As logged, and its recent level. Healthy: falls early, then level; a lone peak is one odd batch. "
            f"The detector warns at {limits('grad_norm_spike')[0]:g} times the level.",
            [
                query(f"training_grad_norm{{{ONE_RUN}}}", "{{run}}", ref="now"),
                query(f"training_grad_norm_baseline{{{ONE_RUN}}}", "{{run}} recent level", ref="level"),
            ],
            unit="none",
            w=6,
            h=7,
            empty=UNKNOWN,
            overrides=[override("level", query=True, **dashed(GREY))],
        ),
        lines(
            "Validation",
            "Results of evaluations. Healthy: losses fall, scores rise; if they turn while the training loss still "
            "falls, the model overfits.",
            [
                query(f"training_validation_bpb{{{ONE_RUN}}}", "{{run}} bits per byte"),
                query(f"training_validation_loss{{{ONE_RUN}}}", "{{run}} loss"),
                query(f"training_validation_score{{{ONE_RUN}}}", "{{run}} {{metric}}"),
            ],
            unit="none",
            w=6,
            h=7,
            empty="no evaluation in the log yet",
        ),
        against_step(
            "Loss against step, log axes",
            "The same curves on logarithmic axes (Grafana 10.4 and later). Healthy: a straight line down; "
            "a curve that lies above the baseline's is behind it.",
            by_step,
            log=True,
            w=6,
            h=7,
            overrides=compare,
        ),
    )
