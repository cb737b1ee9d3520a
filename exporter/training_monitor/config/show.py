"""The effective configuration as a file that says the same."""

from __future__ import annotations

from typing import Any

from training_monitor.config.load import Config
from training_monitor.config.schema import RUN_SCHEMA, SCHEMA


def effective(config: Config) -> str:
    """YAML of everything that takes effect, defaults included; what is not set is left out."""
    import yaml

    document: dict[str, Any] = {}
    for schema, values in ((SCHEMA, config), (RUN_SCHEMA, config.default)):
        for section, keys in schema.items():
            found = {key: _shown(getattr(values, attribute)) for key, (_, attribute, _) in keys.items()}
            document[section] = {key: value for key, value in found.items() if value not in (None, [])}
    thresholds: dict[str, dict[str, float]] = {}
    for (kind, severity), value in config.default.thresholds.table().items():
        thresholds.setdefault(kind, {})[severity] = _shown(value)
    thresholds["plateau"]["improvement"] = config.default.thresholds.plateau_improvement
    document["detectors"] = thresholds
    document["names"] = [{"match": rule.match.pattern, "name": rule.name} for rule in config.names]
    document["runs"] = [{"run": run, **_sections(values), "detectors": dict(d)} for run, values, d in config.overrides]
    text: str = yaml.safe_dump({k: v for k, v in document.items() if v}, sort_keys=False, allow_unicode=True)
    return text.rstrip()


def _sections(values: Any) -> dict[str, dict[str, Any]]:
    """Values of one entry of `runs`, in their sections."""
    return {
        section: found
        for section, keys in RUN_SCHEMA.items()
        if (found := {key: _shown(values[attribute]) for key, (_, attribute, _) in keys.items() if attribute in values})
    }


def _shown(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value
