"""The one table of thresholds. Rules, dashboards, gauges and docs take their numbers from here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

from training_monitor.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a warning begins and where a critical event begins."""

    warning: float
    critical: float


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What counts as an anomaly. Raises ConfigError with every problem at once.

    Ratios are taken against robust baselines that the anomaly itself cannot poison. The table is the promise; what is
    clear statistically is found below it as well.
    """

    #: A step's loss over its recent level. Warning when held for two logged steps, critical at once.
    loss_spike: Limits = Limits(1.5, 2.0)
    #: Loss of model FLOPs utilisation against its baseline, as a part of it: 0.15 is −15 %.
    mfu_drop: Limits = Limits(0.15, 0.30)
    #: Steps without an improvement of `plateau_improvement`.
    plateau: Limits = Limits(500, 1000)
    #: What counts as an improvement of the loss, as a part of it: 0.01 is 1 %.
    plateau_improvement: float = 0.01
    #: Step time over its baseline, as a running median.
    slowdown: Limits = Limits(1.5, 2.0)
    #: Gradient norm over its recent level. 5: ByteRobust (arXiv 2509.16293, 4.1); 10: Megatron-LM's large-grad check.
    grad_norm_spike: Limits = Limits(5.0, 10.0)

    def __post_init__(self) -> None:
        problems = _problems({f.name: getattr(self, f.name) for f in fields(self)}, "detectors")
        if problems:
            raise ConfigError(problems)

    def table(self) -> dict[tuple[str, str], float]:
        """The threshold of each kind and severity label, as `training_anomaly_threshold` shows it."""
        return {(kind, severity): getattr(getattr(self, kind), severity) for kind in KINDS for severity in SEVERITIES}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], where: str = "detectors") -> Thresholds:
        """The defaults, overridden by a mapping such as `{"loss_spike": {"warning": 1.4}}`.

        `where` stands before each problem. Raises ConfigError with every problem at once.
        """
        problems: list[str] = []
        values: dict[str, Any] = {f.name: f.default for f in fields(cls)}
        for kind, given in mapping.items():
            if kind not in KINDS:
                problems.append(f"{where}.{kind}: unknown detector{_hint(kind, KINDS)}; known: {', '.join(KINDS)}")
            elif not isinstance(given, Mapping):
                problems.append(f"{where}.{kind}: {given!r} is not a mapping such as {{warning: …, critical: …}}")
            else:
                _read_kind(kind, given, f"{where}.{kind}", values, problems)
        problems += _problems(values, where)
        if problems:
            raise ConfigError(problems)
        return cls(**values)


SEVERITIES = ("warning", "critical")

#: Allowed values of each kind, and how a message says so.
_RANGES = {
    "loss_spike": (1.0, math.inf, "a ratio above 1"),
    "mfu_drop": (0.0, 1.0, "between 0 and 1 (0.15 is −15 %)"),
    "plateau": (0.0, math.inf, "a number of steps above 0"),
    "slowdown": (1.0, math.inf, "a ratio above 1"),
    "grad_norm_spike": (1.0, math.inf, "a ratio above 1"),
}
KINDS = tuple(_RANGES)


def _read_kind(kind: str, given: Mapping[Any, Any], where: str, values: dict[str, Any], problems: list[str]) -> None:
    """Puts what `given` says about `kind` into `values`, and what is wrong with it into `problems`."""
    allowed = (*SEVERITIES, "improvement") if kind == "plateau" else SEVERITIES
    for name, value in given.items():
        if name not in allowed:
            problems.append(f"{where}.{name}: unknown key{_hint(name, allowed)}; known: {', '.join(allowed)}")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            problems.append(f"{where}.{name}: {value!r} is not a number")
        elif name == "improvement":
            values["plateau_improvement"] = float(value)
        else:
            values[kind] = replace(values[kind], **{name: float(value)})


def _problems(values: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with these numbers, one line each."""
    problems = []
    for kind, (low, high, what) in _RANGES.items():
        limits: Limits = values[kind]
        wrong = [s for s in SEVERITIES if not low < getattr(limits, s) < high]
        problems += [f"{where}.{kind}.{s}: {getattr(limits, s):g} is not {what}" for s in wrong]
        if not wrong and limits.critical <= limits.warning:
            problems.append(f"{where}.{kind}.critical: {limits.critical:g} is not above warning {limits.warning:g}")
    if not 0 < values["plateau_improvement"] < 1:
        problems.append(f"{where}.plateau.improvement: {values['plateau_improvement']:g} is not between 0 and 1")
    return problems


def _hint(name: object, known: tuple[str, ...]) -> str:
    close = get_close_matches(str(name), known, n=1)
    return f", did you mean {close[0]}?" if close else ""
