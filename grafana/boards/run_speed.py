"""How fast a run is: MFU, step time, tokens per second, each beside its usual and its baseline."""

from __future__ import annotations

from boards.board import INSTANCE, ONE_RUN
from boards.panels import lines, query
from boards.run_curves import smooth
from boards.step_axis import BASELINE
from boards.style import (
    BLUE,
    CRITICAL,
    GREY,
    ROUGH,
    UNKNOWN,
    WARNING,
    Json,
    dashed,
    limits,
    override,
)

#: True where a single run is selected: bands of several runs over each other would say nothing.
SINGLE = f"and on () count(count by (run) (training_run_state{{{ONE_RUN}}})) == 1"
#: Times the usual from which a step's time is not drawn.
FAR = 4


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
            f"its usual. Orange band: {slow[0]:g} to {slow[1]:g} times the usual, a warning; above it, a page (as "
            f"configured in exporter.yml). Grey values from {FAR} times the usual on are left out: a first step that "
            "compiles would hide all others.",
            [
                query(f"training_step_duration_recent_seconds{{{ONE_RUN}}}", "{{run}}", ref="recent"),
                query(near("training_step_duration_seconds", pace), "{{run}} as logged", ref="logged"),
                query(pace, "{{run}} usual", ref="usual"),
                query(f"{pace} * {banded('slowdown', 'warning')} {SINGLE}", "warning", ref="warning"),
                query(f"{pace} * {banded('slowdown', 'critical')} {SINGLE}", "critical", ref="critical"),
                query(
                    near("training_baseline_step_duration_seconds", pace),
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


def near(metric: str, usual: str) -> str:
    """The values of a metric that are not far above the latest usual; all of them where that is not known."""
    value = f"{metric}{{{ONE_RUN}}}"
    return f"{value} unless {value} >= {FAR} * ({usual} @ end())"


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
