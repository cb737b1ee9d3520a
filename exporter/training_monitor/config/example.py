"""The commented configuration file and the docs page, made from the schema and the effective defaults."""

from __future__ import annotations

from typing import Any

from training_monitor.config.load import Config, RunConfig
from training_monitor.config.schema import RUN_SCHEMA, SCHEMA
from training_monitor.detect.thresholds import Thresholds

#: What stands in the example where there is no default.
SAMPLES: dict[str, Any] = {
    "paths": "[/logs]",
    "wandb_runs": "[entity/project/run]",
    "format": "nanochat",
    "regex": "['^it (?P<step>\\d+) loss (?P<loss>\\S+)']",
    "state_dir": "/var/lib/training-monitor",
    "gpu": "H100 SXM",
    "gpus": 8,
    "precision": "bf16",
    "peak_flops": "9.89e14",
    "flops_per_token": "4.9e9",
    "parameters": "9.1e8",
    "usd_per_gpu_hour": 2.5,
    "budget_usd": 500,
    "total_steps": 16704,
    "target_loss": 2.5,
    "baseline": "/logs/baseline.log",
}
HEAD = """\
# Configuration of training-monitor. Nothing in it is required; every line shows its default, or a sample where there is
# none. `training-monitor check-config FILE` says everything that is wrong with a file at once.
"""


def commented() -> str:
    """The whole example: every key, commented out, with what it is."""
    lines = [HEAD]
    for section, keys in {**SCHEMA, **RUN_SCHEMA}.items():
        lines.append(f"# {section}:")
        lines += [f"#   {key}: {_shown(attribute)}  # {what}" for key, (_, attribute, what) in keys.items()]
        lines.append("")
    lines += ["# detectors:  # thresholds of the table; see docs/detection.md", *_detectors(), ""]
    lines += [
        "# names:  # what runs are called; the first rule whose pattern matches the path decides",
        "#   - match: '/runs/(?P<run>[^/]+)/train\\.log$'",
        "#     name: '{run}'",
        "",
        "# runs:  # other values for some runs, by name or pattern; later entries win",
        "#   - run: gpt2-*",
        "#     cost: {usd_per_gpu_hour: 1.9}",
        "#     detectors: {mfu_drop: {warning: 0.2, critical: 0.4}}",
    ]
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """The tables of keys for the docs."""
    lines = []
    for section, keys in {**SCHEMA, **RUN_SCHEMA}.items():
        where = " (also in each entry of `runs`)" if section in RUN_SCHEMA else ""
        lines += [f"### `{section}`{where}", "", "| key | default | what it is |", "|---|---|---|"]
        for key, (_, attribute, what) in keys.items():
            default = _default(attribute)
            lines.append(f"| `{key}` | {f'`{default}`' if default is not None else ''} | {what} |")
        lines.append("")
    return "\n".join(lines)


def _detectors() -> list[str]:
    lines: dict[str, str] = {}
    for (kind, severity), value in Thresholds().table().items():
        lines[kind] = lines.get(kind, f"#   {kind}: {{") + f"{severity}: {value:g}, "
    improvement = Thresholds().plateau_improvement
    lines["plateau"] += f"improvement: {improvement:g}, "
    return [line[:-2] + "}" for line in lines.values()]


def _shown(attribute: str) -> Any:
    default = _default(attribute)
    return SAMPLES[attribute] if default is None else default


def _default(attribute: str) -> str | None:
    """The default as the file would say it; None where there is none."""
    value = getattr(Config() if hasattr(Config(), attribute) else RunConfig(), attribute)
    if value is None or value == ():
        return None
    return _duration(value) if attribute.endswith("_s") else f"{value:g}"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"
