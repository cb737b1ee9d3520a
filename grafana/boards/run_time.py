"""Where the time of a run went, what its log says of it, and its GPUs."""

from __future__ import annotations

from typing import Any

from boards.board import ONE_RUN
from boards.panels import bar, lines, query, stat, table
from boards.style import (
    BLUE,
    VERMILION,
    Json,
    dashed,
    fixed,
    override,
)


def time() -> tuple[Json, ...]:
    silence = f"time() - training_last_step_timestamp_seconds{{{ONE_RUN}}}"
    return (
        stat(
            "Goodput",
            "Part of the run's wall time that trained. Healthy: 90 % and more on a run of hours; "
            "evaluations and checkpoints take the rest.",
            [query(f"training_goodput_ratio{{{ONE_RUN}}}", "{{run}}", instant=True)],
            unit="percentunit",
            w=4,
            h=8,
            decimals=1,
            empty="the log has no times",
        ),
        bar(
            "Time that did not train",
            "Wall time of the chosen runs by reason; rework is training that was done again after a restart. "
            "Healthy: little beside evaluation and checkpoint.",
            [query(f"round(sum by (reason) (training_lost_seconds{{{ONE_RUN}}}), 0.1)", "{{reason}}", instant=True)],
            unit="s",
            w=8,
            h=8,
            decimals=1,
            min=0,
            empty="the log has no times",
            color=fixed(BLUE),
        ),
        lines(
            "Silence since the last step",
            "Time since the latest step of a running run, and from when on it counts as a stall: the run's own rhythm. "
            "Healthy: saw teeth far below the dashed line.",
            [
                query(
                    f'{silence} and on (run, instance) training_run_state{{{ONE_RUN},state="running"}} == 1', "{{run}}"
                ),
                query(f"training_stall_after_seconds{{{ONE_RUN}}}", "{{run}} stalled from", ref="stall"),
            ],
            unit="s",
            w=12,
            h=8,
            min=0,
            empty="no run is running",
            overrides=[override("stall", query=True, **dashed(VERMILION))],
        ),
    )


FACTS = {
    "format": "Log format",
    "gpu": "GPU",
    "world_size": "GPUs",
    "precision": "Precision",
    "parameters": "Parameters",
    "loss_kind": "Loss is",
    "mfu_source": "MFU is",
    "tokens_scope": "Tokens of",
    "step_inferred": "Step is",
    "source": "Source",
    "Value #first": "First step",
    "Value #epoch": "Epoch",
    "Value #best": "Best loss",
    "Value #runs": "Runs",
}


def facts() -> tuple[Json, ...]:
    names = {"run": "Run", **FACTS}
    told = ", ".join(name for name in FACTS if not name.startswith("Value"))
    every = [
        query(f"group by (run, {told}) (training_run_info{{{ONE_RUN}}})", table=True, ref="info"),
        query(f"max by (run) (training_first_step{{{ONE_RUN}}})", table=True, ref="first"),
        query(f"max by (run) (training_epoch{{{ONE_RUN}}})", table=True, ref="epoch"),
        query(f"min by (run) (training_best_loss{{{ONE_RUN}}})", table=True, ref="best"),
        query(f"max by (run) (training_runs_total{{{ONE_RUN}}})", table=True, ref="runs"),
    ]
    return (
        table(
            "The run",
            "What the log says about the run. Empty cells: the log does not say.",
            every,
            h=5,
            unit="none",
            columns=tuple(names),
            hidden=("Time", "Value #info"),
            decimals=3,
            overrides=[
                *(override(field, displayName=shown) for field, shown in names.items()),
                override("run", custom_minWidth=120),
                override("loss_kind", custom_minWidth=150),
                override("source", custom_minWidth=150),
                override("Value #first", unit="locale", decimals=0),
                override("Value #runs", decimals=0),
            ],
        ),
    )


def gpus() -> tuple[Json, ...]:
    def gpu(title: str, description: str, metric: str, unit: str, **more: Any) -> Json:
        legend = "{{Hostname}} GPU {{gpu}}"
        empty = "no DCGM exporter in this Prometheus"
        return lines(title, description, [query(metric, legend)], unit=unit, w=8, h=7, empty=empty, **more)

    return (
        gpu(
            "GPU utilisation",
            "Part of the time in which the GPU did anything; it says little about how well. Healthy: near 100 %.",
            "DCGM_FI_DEV_GPU_UTIL / 100",
            "percentunit",
            min=0,
            max=1,
        ),
        gpu(
            "Tensor cores",
            "Part of the cycles in which the tensor cores worked. Healthy: well above the MFU, and as flat as it.",
            "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
            "percentunit",
            min=0,
        ),
        gpu(
            "GPU memory used",
            "Healthy: flat after the first steps; a steady rise ends in an out-of-memory error.",
            "DCGM_FI_DEV_FB_USED * 1024 * 1024",
            "bytes",
            min=0,
        ),
        gpu("GPU power", "Healthy: flat and near the limit while training.", "DCGM_FI_DEV_POWER_USAGE", "watt", min=0),
        gpu("GPU temperature", "Healthy: below 85 °C; above it GPUs slow down.", "DCGM_FI_DEV_GPU_TEMP", "celsius"),
        gpu(
            "XID errors",
            "Number of the last XID error of each GPU. Healthy: 0; 48, 63, 64, 74, 79 and 94 mean failing hardware.",
            "DCGM_FI_DEV_XID_ERRORS",
            "none",
        ),
    )
