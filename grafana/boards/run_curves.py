"""The curves of a run: what it learns and how fast."""

from __future__ import annotations

from boards.board import INSTANCE, ONE_RUN
from boards.panels import against_step, lines, query, say
from boards.style import (
    BLUE,
    CRITICAL,
    EMPTY,
    GREEN,
    GREY,
    UNKNOWN,
    WARNING,
    Json,
    dashed,
    fixed,
    limits,
    override,
)

BASELINE = f"{INSTANCE},run=~`${{baseline:regex}}`"
#: True where a single run is selected: bands of several runs over each other would say nothing.
SINGLE = f"and on () count(count by (run) (training_run_state{{{ONE_RUN}}})) == 1"
ROUGH: Json = {"color": fixed(GREY), "custom_lineWidth": 1, "custom_showPoints": "never", "custom_fillOpacity": 0}
#: Times the usual from which a step's time is not drawn.
FAR = 4
DOT: Json = {"custom.pointSize.fixed": 10}
POINTS: Json = {"custom_drawStyle": "points", "custom_pointSize": 7, "custom_showPoints": "always"}


def smooth(metric: str, selector: str) -> str:
    """Mean over the chosen time. NaN and infinity, which one bad step brings, are left out."""
    return f"avg_over_time(({metric}{{{selector}}} < Inf)[$smoothing:])"


def last_curve(selector: str) -> str:
    """The curve over steps as it was last seen in the time range, so that a run that is over still has one.

    A curve grows coarser while its run goes on; points that were given up meanwhile have an earlier last sample.
    """
    points = f"training_loss_at_step{{{selector}}}"
    seen = f"max_over_time(timestamp({points})[$__range:$__interval])"
    newest = f"max by (run, instance) ({seen})"
    final = f"last_over_time({points}[$__range]) and {seen} == on (run, instance) group_left () {newest}"
    return f"max by (run, step) ({final})"


def nothing(selector: str, why: str) -> str:
    """A run called `why` without a value, where there is no curve."""
    return say(f"absent_over_time(training_loss_at_step{{{selector}}}[$__range]) * NaN", why, step="0")


def curves_by_step() -> str:
    """The runs' curves, the baseline run's under another name, and the last anomaly of the loss in each run."""
    kinds = 'kind=~"loss_spike|loss_divergence"'
    steps = f'count_values by (run, kind) ("step", training_anomaly_last_step{{{ONE_RUN},{kinds}}}) * 0'
    seen = f"max by (run, kind) (training_anomaly_last_value{{{ONE_RUN},{kinds}}})"
    baseline = f'label_replace({last_curve(BASELINE)}, "run", "baseline $1", "run", "(.*)")'
    anomalies = f'label_join({steps} + on (run, kind) group_left () {seen}, "run", " in ", "kind", "run")'
    empty = nothing(ONE_RUN, EMPTY)
    return f"{last_curve(ONE_RUN)} or {baseline} or sum by (run, step) ({anomalies}) or {empty}"


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


def speed() -> tuple[Json, ...]:
    mfu, slow = limits("mfu_drop"), limits("slowdown")
    usual = f"training_mfu_baseline_ratio{{{ONE_RUN}}}"
    pace = f"training_step_duration_baseline_seconds{{{ONE_RUN}}}"
    return (
        lines(
            "MFU over time",
            "Model FLOPs utilisation: grey as logged, in colour the running median that the detector judges. Healthy: "
            f"flat at its usual. Orange band: {mfu[0]:.0%} to {mfu[1]:.0%} lost, a warning; below it, a page "
            "(as configured in exporter.yml).",
            [
                query(f"training_mfu_recent_ratio{{{ONE_RUN}}}", "{{run}}", ref="recent"),
                query(f"training_mfu_ratio{{{ONE_RUN}}}", "{{run}} as logged", ref="logged"),
                query(usual, "{{run}} usual", ref="usual"),
                query(f"{usual} * {banded('mfu_drop', 'warning', '1 - ')} {SINGLE}", "warning", ref="warning"),
                query(f"{usual} * {banded('mfu_drop', 'critical', '1 - ')} {SINGLE}", "critical", ref="critical"),
                query(f"training_baseline_mfu_ratio{{{ONE_RUN}}}", "{{run}}: its baseline", ref="reference"),
                query(
                    f"last_over_time(training_mfu_baseline_ratio{{{BASELINE}}}[$__range] @ end())",
                    "baseline {{run}}",
                    ref="baseline",
                ),
            ],
            unit="percentunit",
            w=8,
            h=8,
            empty="no MFU in the log, and not enough known to compute it",
            overrides=bands(fill="warning", to="critical"),
        ),
        lines(
            "Step time over time",
            "Time of a step: grey as logged, in colour the running median that the detector judges. Healthy: flat at "
            f"its usual. Orange band: {slow[0]:g} to {slow[1]:g} times the usual, a warning; above it, a page (as configured "
            f"in exporter.yml). Grey values from {FAR} times the usual on are left out: a first step that compiles hides "
            "all others.",
            [
                query(f"training_step_duration_recent_seconds{{{ONE_RUN}}}", "{{run}}", ref="recent"),
                query(
                    f"training_step_duration_seconds{{{ONE_RUN}}} < {FAR} * {pace}", "{{run}} as logged", ref="logged"
                ),
                query(pace, "{{run}} usual", ref="usual"),
                query(f"{pace} * {banded('slowdown', 'warning')} {SINGLE}", "warning", ref="warning"),
                query(f"{pace} * {banded('slowdown', 'critical')} {SINGLE}", "critical", ref="critical"),
                query(
                    f"training_baseline_step_duration_seconds{{{ONE_RUN}}} < {FAR} * {pace}",
                    "{{run}}: its baseline",
                    ref="reference",
                ),
                query(
                    f"last_over_time(training_step_duration_baseline_seconds{{{BASELINE}}}[$__range] @ end())",
                    "baseline {{run}}",
                    ref="baseline",
                ),
            ],
            unit="s",
            w=8,
            h=8,
            empty=UNKNOWN,
            overrides=bands(fill="critical", to="warning"),
        ),
        lines(
            "Tokens per second",
            "Throughput: of the whole job where the log tells its size, else of one device. Healthy: flat.",
            [
                query(smooth("training_tokens_per_second", ONE_RUN), "{{run}}", ref="smooth"),
                query(f"training_tokens_per_second{{{ONE_RUN}}}", "{{run}} as logged", ref="logged"),
                query(smooth("training_tokens_per_second", BASELINE), "baseline {{run}}", ref="baseline"),
            ],
            unit="short",
            w=8,
            h=8,
            axis="tokens per second",
            empty=UNKNOWN,
            min=0,
            overrides=[
                override("logged", query=True, **ROUGH),
                override("baseline", query=True, **dashed(BLUE, pattern=(2, 4))),
            ],
        ),
    )


def banded(kind: str, severity: str, minus: str = "") -> str:
    """The factor from a baseline to a threshold, matched by exporter."""
    number = f'training_anomaly_threshold{{{INSTANCE},kind="{kind}",severity="{severity}"}}'
    return f"on (instance) group_left () ({minus}{number})"


def bands(*, fill: str, to: str) -> list[Json]:
    """Styles of a measured value with its usual, its thresholds and its baselines."""
    band: Json = {"custom_fillBelowTo": to, "custom_fillOpacity": 15}
    more = {fill: band}
    return [
        override("logged", query=True, **ROUGH),
        override("usual", query=True, **dashed(GREY)),
        override("warning", **{**dashed(WARNING, pattern=(4, 4)), **more.get("warning", {})}),
        override("critical", **{**dashed(CRITICAL, pattern=(4, 4)), **more.get("critical", {})}),
        override("reference", query=True, **dashed(BLUE)),
        override("baseline", query=True, **dashed(BLUE, pattern=(2, 4))),
    ]
