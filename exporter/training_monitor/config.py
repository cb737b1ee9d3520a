"""One YAML file, nothing in it required. Unknown keys and wrong values are refused, all of them at once.

`SCHEMA` below is the only list of keys; `check-config`, the commented example and the docs are made from it.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from training_monitor.detect.thresholds import Thresholds
from training_monitor.errors import ConfigError, InputError

Checker: TypeAlias = Callable[[Any], Any]  # gives the value to use, or raises ValueError with what is wrong


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What the user knows about a run that its log may not say."""

    thresholds: Thresholds = field(default_factory=Thresholds)
    gpu: str | None = None
    gpus: int | None = None
    precision: str | None = None
    peak_flops: float | None = None  # FLOP/s of one device
    flops_per_token: float | None = None
    parameters: float | None = None
    usd_per_gpu_hour: float | None = None
    budget_usd: float | None = None
    total_steps: int | None = None
    target_loss: float | None = None
    baseline: str | None = None  # path of the baseline run's log
    behind_ratio: float = 1.02  # loss over the baseline's loss at the same step that counts as behind


@dataclass(frozen=True, slots=True)
class NameRule:
    """Runs whose path matches `match` are called `name`, in which groups stand as {group}."""

    match: re.Pattern[str]
    name: str


@dataclass(frozen=True, slots=True)
class Config:
    """The effective configuration."""

    paths: tuple[str, ...] = ()
    state_dir: str | None = None
    names: tuple[NameRule, ...] = ()
    format: str | None = None
    regex: tuple[str, ...] = ()
    wandb_runs: tuple[str, ...] = ()
    wandb_poll_s: float = 30.0
    poll_s: float = 2.0  # where the file system tells nothing
    rescan_s: float = 10.0  # looking for new files
    save_s: float = 10.0
    expire_s: float = 86400.0  # a finished or vanished run's series go away after this time
    default: RunConfig = field(default_factory=RunConfig)
    detectors: Mapping[str, Any] = field(default_factory=dict)  # as written; `default.thresholds` is made from it
    overrides: tuple[tuple[str, Mapping[str, Any], Mapping[str, Any]], ...] = ()  # (pattern, values, detectors)

    def of(self, run: str) -> RunConfig:
        """The settings of one run: the defaults, then each matching entry of `runs`, in their order."""
        found, given = self.default, self.detectors
        for pattern, values, detectors in self.overrides:
            if fnmatchcase(run, pattern):
                given = _merged(given, detectors)
                found = replace(found, thresholds=Thresholds.from_mapping(given), **values)
        return found


def _number(low: float = -math.inf, *, above: bool = False) -> Checker:
    def check(value: Any) -> float:
        if isinstance(value, str):  # YAML 1.1 reads 9.89e14 as text
            try:
                value = float(value)
            except ValueError:
                raise ValueError(f"{value!r} is not a number") from None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{value!r} is not a number")
        if value < low or (above and value == low):
            raise ValueError(f"{value:g} is not {'above' if above else 'at least'} {low:g}")
        return float(value)

    return check


def _integer(low: int) -> Checker:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{value!r} is not a whole number")
        if value < low:
            raise ValueError(f"{value} is not at least {low}")
        return value

    return check


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not a text")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
        raise ValueError(f"{value!r} is not a list of texts")
    return tuple(value)


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _duration(value: Any) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", str(value))
    if isinstance(value, bool) or not match or float(match[1]) <= 0:
        raise ValueError(f"{value!r} is not a duration such as 30s, 10m, 24h or 7d")
    return float(match[1]) * _UNITS[match[2] or "s"]


#: section → key → (check, attribute of RunConfig, what it is). These may also stand in each entry of `runs`.
RUN_SCHEMA: dict[str, dict[str, tuple[Checker, str, str]]] = {
    "hardware": {
        "gpu": (_text, "gpu", "name of the GPU, e.g. H100 SXM, where the log does not name it"),
        "gpus": (_integer(1), "gpus", "number of devices in the job"),
        "precision": (_text, "precision", "bf16 (default) or fp8: which peak the MFU is relative to"),
        "peak_flops": (_number(0, above=True), "peak_flops", "FLOP/s of one device, overrides the table"),
        "flops_per_token": (_number(0, above=True), "flops_per_token", "training FLOPs per token"),
        "parameters": (_number(0, above=True), "parameters", "model parameters"),
    },
    "cost": {
        "usd_per_gpu_hour": (_number(0), "usd_per_gpu_hour", "price of one device for one hour"),
        "budget_usd": (_number(0, above=True), "budget_usd", "raises over_budget when the estimate exceeds it"),
    },
    "goal": {
        "total_steps": (_integer(1), "total_steps", "planned steps, where the log does not say"),
        "target_loss": (_number(), "target_loss", "the loss this run should reach"),
    },
    "baseline": {
        "log": (_text, "baseline", "log of the run to compare with at the same step"),
        "behind_ratio": (_number(1, above=True), "behind_ratio", "loss over the baseline's that counts as behind"),
    },
}

#: section → key → (check, attribute of Config, what it is).
SCHEMA: dict[str, dict[str, tuple[Checker, str, str]]] = {
    "sources": {
        "paths": (_texts, "paths", "what to watch when the command line names nothing"),
        "wandb_runs": (_texts, "wandb_runs", "runs in the W&B cloud, as entity/project/run or URL"),
        "wandb_poll": (_duration, "wandb_poll_s", "time between two polls of the W&B cloud"),
        "format": (_text, "format", "name of the log format, instead of detecting it (see `training-monitor formats`)"),
        "regex": (_texts, "regex", "own line patterns with named groups (step, loss, lr, …)"),
        "poll": (_duration, "poll_s", "time between two looks at a file where the file system sends no notification"),
        "rescan": (_duration, "rescan_s", "time between two looks for new files"),
    },
    "state": {
        "dir": (_text, "state_dir", "where offsets and detector state are kept"),
        "save_interval": (_duration, "save_s", "shortest time between two saves"),
    },
    "series": {
        "expire_after": (_duration, "expire_s", "a finished or vanished run is shown for this long"),
    },
}
TOP = (*SCHEMA, *RUN_SCHEMA, "detectors", "names", "runs")


def load(path: str | None) -> Config:
    """The configuration in the file, or the defaults. Raises ConfigError (every problem at once) or InputError."""
    if path is None:
        return Config()
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: cannot be read: {e.strerror if isinstance(e, OSError) else e}") from e
    return parse(text, os.path.basename(path))


def parse(text: str, where: str = "config") -> Config:
    """The configuration in a YAML text; `where` stands before each problem."""
    import yaml

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise ConfigError([f"{where}: not valid YAML: {' '.join(str(e).split())}"]) from e
    problems: list[str] = []
    config = _read(document if document is not None else {}, problems)
    if problems:
        raise ConfigError([f"{where}: {p}" for p in problems])
    return config


def _read(document: Any, problems: list[str]) -> Config:
    if not isinstance(document, Mapping):
        problems.append(f"the top level is {document!r}, not a mapping of sections such as {', '.join(TOP)}")
        return Config()
    for key in document:
        if key not in TOP:
            problems.append(f"{key}: unknown section{hint(key, TOP)}; known: {', '.join(TOP)}")
    values = _sections(document, SCHEMA, "", problems)
    run_values = _sections(document, RUN_SCHEMA, "", problems)
    detectors = document.get("detectors") or {}
    return Config(
        **values,
        names=_names(document.get("names"), problems),
        default=RunConfig(thresholds=_thresholds(detectors, "detectors", problems), **run_values),
        detectors=detectors,
        overrides=_overrides(document.get("runs"), detectors, problems),
    )


def _sections(
    document: Mapping[Any, Any],
    schema: Mapping[str, Mapping[str, tuple[Checker, str, str]]],
    where: str,
    problems: list[str],
) -> dict[str, Any]:
    """The checked values of all sections of `schema`, by attribute."""
    values: dict[str, Any] = {}
    for section, keys in schema.items():
        given = document.get(section)
        if given is None:
            continue
        if not isinstance(given, Mapping):
            problems.append(f"{where}{section}: {given!r} is not a mapping with {', '.join(keys)}")
            continue
        for key, value in given.items():
            place = f"{where}{section}.{key}"
            if key not in keys:
                problems.append(f"{place}: unknown key{hint(key, tuple(keys))}; known: {', '.join(keys)}")
            elif value is not None:
                check, attribute, _ = keys[key]
                try:
                    values[attribute] = check(value)
                except ValueError as e:
                    problems.append(f"{place}: {e}")
    return values


def _thresholds(given: Any, where: str, problems: list[str]) -> Thresholds:
    if not isinstance(given, Mapping):
        problems.append(f"{where}: {given!r} is not a mapping of detectors")
        return Thresholds()
    try:
        return Thresholds.from_mapping(given, where)
    except ConfigError as e:
        problems.extend(e.problems)
        return Thresholds()


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Two mappings of detectors, key by key; the second one wins."""
    return {k: {**base.get(k, {}), **over.get(k, {})} for k in (*base, *(k for k in over if k not in base))}


def _names(given: Any, problems: list[str]) -> tuple[NameRule, ...]:
    rules = []
    for place, entry in _entries(given, "names", {"match", "name"}, problems):
        try:
            pattern, name = re.compile(_text(entry.get("match"))), _text(entry.get("name"))
            name.format(**dict.fromkeys(pattern.groupindex, ""))
            rules.append(NameRule(pattern, name))
        except re.error as e:
            problems.append(f"{place}.match: not a regular expression: {e}")
        except KeyError as e:
            problems.append(f"{place}.name: there is no group {e} in match; write it as (?P<{e.args[0]}>…)")
        except (IndexError, ValueError) as e:
            problems.append(f"{place}: needs match (a regular expression) and name (with its groups as {{group}}): {e}")
    return tuple(rules)


def _overrides(
    given: Any, base: Any, problems: list[str]
) -> tuple[tuple[str, Mapping[str, Any], Mapping[str, Any]], ...]:
    found = []
    for place, entry in _entries(given, "runs", {"run", "detectors", *RUN_SCHEMA}, problems):
        pattern = entry.get("run")
        if not isinstance(pattern, str) or not pattern:
            problems.append(f"{place}.run: {pattern!r} is not a run name or a pattern such as gpt2-*")
            continue
        values = _sections(entry, RUN_SCHEMA, f"{place}.", problems)
        detectors = entry.get("detectors") or {}
        before = len(problems)
        _thresholds(detectors, f"{place}.detectors", problems)
        if len(problems) == before and isinstance(base, Mapping):
            _thresholds(_merged(base, detectors), f"{place}.detectors", problems)
        found.append((pattern, values, detectors))
    return tuple(found)


def _entries(given: Any, where: str, known: set[str], problems: list[str]) -> Sequence[tuple[str, Mapping[str, Any]]]:
    """The entries of a list of mappings with their places."""
    if given is None:
        return ()
    if not isinstance(given, list):
        problems.append(f"{where}: {given!r} is not a list of mappings with {', '.join(sorted(known))}")
        return ()
    found = []
    for i, entry in enumerate(given):
        place = f"{where}[{i}]"
        if not isinstance(entry, Mapping):
            problems.append(f"{place}: {entry!r} is not a mapping with {', '.join(sorted(known))}")
            continue
        for key in entry:
            if key not in known:
                problems.append(
                    f"{place}.{key}: unknown key{hint(key, tuple(known))}; known: {', '.join(sorted(known))}"
                )
        found.append((place, entry))
    return found


def hint(name: object, known: Sequence[str]) -> str:
    """`, did you mean X?` where something close is known."""
    close = get_close_matches(str(name), known, n=1)
    return f", did you mean {close[0]}?" if close else ""
