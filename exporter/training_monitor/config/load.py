"""One YAML file, nothing in it required. Unknown keys and wrong values are refused, all of them at once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from string import Formatter
from typing import Any

from training_monitor.config import schema
from training_monitor.config.schema import RUN_SCHEMA, SCHEMA, TOP, Checker, hint
from training_monitor.detect.thresholds import Thresholds
from training_monitor.errors import NOT_OF_ITS_TAG, ConfigError, InputError

MAX_SIZE = 100_000  # characters and values of the document; the commented example has 4,000
MAX_BITS = 1000  # of a whole number; a float takes 1024


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
        _check_size(document)
    except (yaml.YAMLError, *NOT_OF_ITS_TAG) as e:
        raise ConfigError([f"{where}: not valid YAML: {' '.join(str(e).split())}"]) from e
    problems: list[str] = []
    config = _read(document if document is not None else {}, problems)
    if problems:
        raise ConfigError([f"{where}: {p}" for p in problems])
    return config


def _check_size(document: Any) -> None:
    """Raises ValueError if a few lines unfold to gigabytes (aliases of aliases), or a number to no float."""
    size, todo = 0, [document]
    while todo:
        value = todo.pop()
        size += 1 + (len(value) if isinstance(value, str | bytes) else 0)
        if size > MAX_SIZE:
            raise ValueError(f"it is longer than {MAX_SIZE} characters, its aliases unfolded")
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise ValueError(f"a number has more than {MAX_BITS} bits")
        if isinstance(value, Mapping):
            todo += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set):
            todo += value


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
    before = len(problems)
    thresholds = _thresholds(detectors, "detectors", problems)
    base = detectors if len(problems) == before else {}
    return Config(
        **values,
        names=_names(document.get("names"), problems),
        default=RunConfig(thresholds=thresholds, **run_values),
        detectors=detectors,
        overrides=_overrides(document.get("runs"), base, problems),
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
            pattern, name = re.compile(schema.text(entry.get("match"))), schema.text(entry.get("name"))
            _check_groups(name, pattern)
            rules.append(NameRule(pattern, name))
        except (re.error, OverflowError, RecursionError) as e:
            problems.append(f"{place}.match: not a regular expression: {e}")
        except KeyError as e:
            problems.append(f"{place}.name: there is no group {e} in match; write it as (?P<{e.args[0]}>…)")
        except ValueError as e:
            problems.append(f"{place}: needs match (a regular expression) and name (with its groups as {{group}}): {e}")
    return tuple(rules)


def _check_groups(name: str, pattern: re.Pattern[str]) -> None:
    """Raises KeyError for a group that is not in the pattern, ValueError for anything else but {group}."""
    for _, group, width, conversion in Formatter().parse(name):
        if group is None:
            continue
        if width or conversion or not group.isidentifier():
            raise ValueError(f"{{{group}…}} is no name of a group")
        if group not in pattern.groupindex:
            raise KeyError(group)


def _overrides(
    given: Any, base: Mapping[str, Any], problems: list[str]
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
        if len(problems) == before:
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
