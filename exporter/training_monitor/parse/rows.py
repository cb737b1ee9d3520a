"""Rows of names and values → records: for every source that says what a number is by a name.

JSONL, CSV, trainer_state.json, W&B, TensorBoard, Trackio and MLflow all end here. What a name means stands in
`parse.aliases`; which columns of a row matter is worked out once for each set of names (`plan_of`).

Lossy cases: a row without any step counter belongs to the latest step, or is counted if no row ever had one (said in
`Facts.step_inferred`); W&B's own row counter `_step` is used only until a counter of the trainer was seen; `mfu` and
`dt` leave their unit open: they are percent and milliseconds from the first value on that cannot be anything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from math import isfinite, nan
from typing import Any, NamedTuple

from training_monitor.moments import unix_seconds
from training_monitor.parse.aliases import Alias, Guess, fact_of, field_of, normalised
from training_monitor.records import Facts, Finish, Record, Scope, Step, Validation
from training_monitor.state import Stateful

MAX_METRICS = 32  # validation metrics of one run; a file may make up names without end
MAX_DEPTH = 4  # levels of nested objects in a row
COUNTED = "rows counted: they carry no step"

_POSITION = {name: i for i, name in enumerate(Step._fields)}
_N = len(Step._fields)
_LOSS, _RAW, _GRAD, _MFU = (_POSITION[n] for n in ("loss", "raw_loss", "grad_norm", "mfu_ratio"))
_TOTAL, _TIME, _LINE = (_POSITION[n] for n in ("total_steps", "time", "line"))
#: Fields that come along with anything: a row with only these is no training step.
_COMPANIONS = ("epoch", "tokens_total", "total_steps")


class Plan(NamedTuple):
    """Which columns of a row mean what; indexes are positions in the row."""

    steps: tuple[tuple[int, bool], ...]  # (index, is the logger's own row counter), best first
    fields: tuple[tuple[int, int, float, Guess | None], ...]  # (index, position in Step, scale, guess), best last
    validations: tuple[tuple[int, str], ...]  # (index, metric)
    times: tuple[int, ...]
    scope: Scope | None  # of tokens per second
    loss_kind: str | None
    is_percent: bool  # an `mfu` beside these names is a percentage
    is_end: bool  # the row that HF Trainer writes at the end of training
    is_useful: bool
    has_loss: bool


@lru_cache(maxsize=512)
def plan_of(names: tuple[str, ...]) -> Plan:
    """What to take from rows whose columns have these names."""
    known = [(i, alias) for i, name in enumerate(names) if (alias := field_of(name)) is not None]
    known.sort(key=lambda pair: pair[1].rank)
    keys = {normalised(name) for name in names}
    by_field: dict[str, list[tuple[int, Alias]]] = {}
    for i, alias in known:
        by_field.setdefault(alias.field, []).append((i, alias))
    fields = [(i, a) for i, a in reversed(known) if a.field in _POSITION and a.field not in ("step", "time")]
    validations = tuple((i, a.field.removeprefix("validation:")) for i, a in known if a.field not in _POSITION)
    is_end = any(key.endswith("total_flos") for key in keys)
    is_nanochat = "total_training_flops" in keys
    scope = next((a.scope for _, a in by_field.get("tokens_per_second", ())), None)
    return Plan(
        steps=tuple((i, names[i] == "_step") for i, _ in by_field.get("step", ())),
        fields=tuple((i, _POSITION[a.field], a.scale, a.guess) for i, a in fields),
        validations=validations,
        times=tuple(i for i, _ in by_field.get("time", ())),
        scope="global" if is_nanochat and "tokens_per_second" in by_field else scope,
        loss_kind="moving average (0.9)" if is_nanochat and "loss" in by_field else None,
        is_percent=is_nanochat or "iter" in keys,  # nanochat, nanoGPT
        is_end=is_end,
        is_useful=is_end or bool(validations) or any(a.field not in _COMPANIONS for _, a in fields),
        has_loss="loss" in by_field,
    )


class RowReader(Stateful):
    """Reads the rows of one run in their order."""

    __slots__ = ("counted", "has_counter", "is_percent", "last_step", "loss_kind", "metrics", "ms", "scope")

    def __init__(self) -> None:
        self.last_step: int | None = None
        self.has_counter = False  # a counter of the trainer was seen
        self.counted = 0  # rows numbered by counting them
        self.is_percent = False  # `mfu` is a percentage
        self.ms = False  # `dt` is milliseconds
        self.scope: Scope | None = None  # as told
        self.loss_kind: str | None = None  # as told
        self.metrics: list[str] = []

    def rows(self, rows: Iterable[Mapping[str, Any]]) -> list[Record]:
        """The records of several rows."""
        out: list[Record] = []
        for row in rows:
            self.row(row, out)
        return out

    def facts(self, config: Mapping[str, Any]) -> Facts | None:
        """What the run's configuration says, None if nothing that is used."""
        return facts_of(config)

    def row(self, row: Mapping[str, Any], out: list[Record], line: int = 0) -> bool:
        """Appends the records of one row, which may hold objects in objects; says whether there were any."""
        if any(type(v) is dict for v in row.values()):
            row = flattened(row)
        return self.take(plan_of(tuple(row)), list(row.values()), out, line)

    def take(
        self, plan: Plan, values: Sequence[Any], out: list[Record], line: int = 0, time: float | None = None
    ) -> bool:
        """Appends the records of a row whose columns are those of `plan`; says whether there were any.

        `values` are numbers, texts of numbers, or anything else, which is passed over. `time`: unix seconds, for rows
        that carry none.
        """
        if not plan.is_useful:
            return False
        before = len(out)
        for i in plan.times:
            if (written := _unix_time(values[i])) is not None:
                time = written
                break
        fields, has_fields = self._fields(plan, values)
        step = self._step(plan, values, has_loss=fields[_LOSS] is not None, out=out)
        if plan.is_end:
            out.append(Finish(time, line))
            return True
        if has_fields and step is not None:
            if plan.scope is not None and plan.scope != self.scope:
                self.scope = plan.scope
                out.append(Facts(tokens_scope=plan.scope))
            if plan.loss_kind is not None and plan.loss_kind != self.loss_kind:
                self.loss_kind = plan.loss_kind
                out.append(Facts(loss_kind=plan.loss_kind))
            fields[0], fields[_TIME], fields[_LINE] = step, time, line
            out.append(Step._make(fields))
        for i, metric in plan.validations:
            value = number(values[i])
            if value is not None and self._is_known(metric):
                out.append(Validation(metric, value, step, time, line))
        return len(out) > before

    def _fields(self, plan: Plan, values: Sequence[Any]) -> tuple[list[Any], bool]:
        """The fields of a Step, and whether one of them says that this is a step of training."""
        fields: list[Any] = [None] * _N
        has_fields = False
        if plan.is_percent:
            self.is_percent = True
        for i, position, scale, guess in plan.fields:
            x = values[i]
            if x is None:
                continue
            if type(x) is not float and (x := number(x)) is None:
                continue
            if guess is not None:
                x = self._guessed(guess, x)
            if scale != 1.0:
                x *= scale
            if position == _TOTAL:
                fields[_TOTAL] = int(x) if 0 < x < 2**53 else None
                continue
            if position == _MFU and x <= 0:  # placeholders: -100 %, 0 %
                continue
            fields[position] = x
            has_fields = has_fields or _IS_TRAINING[position]
        grad_norm = fields[_GRAD]
        if fields[_LOSS] == 0.0 and grad_norm is not None and not isfinite(grad_norm):
            # HF Trainer's logging_nan_inf_filter writes 0.0 for a loss that is NaN; the gradient norm tells.
            fields[_RAW] = nan
        return fields, has_fields

    def _guessed(self, guess: Guess, x: float) -> float:
        if guess == "percent?":
            self.is_percent = self.is_percent or x > 1.5
            return x * 0.01 if self.is_percent else x
        self.ms = self.ms or x > 1000
        return x * 1e-3 if self.ms else x

    def _step(self, plan: Plan, values: Sequence[Any], has_loss: bool, out: list[Record]) -> int | None:
        for i, is_row_counter in plan.steps:
            if is_row_counter and self.has_counter:
                continue
            x = number(values[i])
            if x is not None and 0 <= x < 2**53:
                self.has_counter = self.has_counter or not is_row_counter
                self.last_step = int(x)
                return self.last_step
        if has_loss and (self.counted or self.last_step is None):
            if not self.counted:
                out.append(Facts(step_inferred=COUNTED))
            self.counted += 1
            self.last_step = self.counted
        return self.last_step

    def _is_known(self, metric: str) -> bool:
        if metric in self.metrics:
            return True
        if len(self.metrics) >= MAX_METRICS:
            return False
        self.metrics.append(metric)
        return True


_IS_TRAINING = [name not in (*_COMPANIONS, "step", "time", "line") for name in Step._fields]


def facts_of(config: Mapping[str, Any]) -> Facts | None:
    """What a run's configuration says, or None if nothing that is used. Only numbers above 0 count."""
    known: dict[str, Any] = {}
    config = flattened(config)
    every = number(config.get("logging_steps"))  # HF Trainer logs the mean over so many steps
    if every is not None and every >= 1:
        known["loss_kind"] = "raw" if every == 1 else f"mean of {every:.0f} steps"
    for name, value in config.items():
        field = fact_of(name) or fact_of(name.rpartition(".")[2])
        x = number(value) if field else None
        if field and x is not None and 0 < x < 2**63 and field not in known:
            known[field] = int(x) if field in ("total_steps", "world_size", "sequence_length") else x
    return replace(Facts(), **known) if known else None


def flattened(row: Mapping[str, Any], depth: int = MAX_DEPTH) -> dict[str, Any]:
    """`row` without objects in objects: `{"train": {"loss": 1}}` → `{"train.loss": 1}`."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            if depth > 1:
                flat.update((f"{name}.{k}", v) for k, v in flattened(value, depth - 1).items())
        else:
            flat[name] = value
    return flat


def number(value: Any) -> float | None:
    """`value` as a number: also the texts "NaN" and "8.206"; None for a bool, an empty or another text, a list."""
    if type(value) is float:
        return value
    if type(value) is int or (isinstance(value, str | bytes) and len(value) <= 64):
        try:
            return float(value.strip(b'"') if type(value) is bytes else value)
        except (ValueError, OverflowError):
            return None
    return None


def _unix_time(value: Any) -> float | None:
    """Unix seconds from seconds, milli-, micro- or nanoseconds, or ISO 8601 (UTC if it names no zone)."""
    x = number(value)
    if x is not None:
        for scale in (1.0, 1e-3, 1e-6, 1e-9):
            if 1e9 <= x * scale < 1e10:
                return x * scale
        return None
    if not isinstance(value, str) or not 10 <= len(value) <= 40 or value[4:5] != "-":
        return None
    return unix_seconds(value.strip())
