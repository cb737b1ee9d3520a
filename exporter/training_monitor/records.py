"""What crosses from one room to the next. Imports nothing of ours.

    tail → Chunk → parse → Step, Facts, Validation, … → detect → Event → expose, report
                                                      → estimate → parts of Snapshot

A value that the log does not say is None; NaN and infinity are values that the log did say. Units stand in the
names or in the comments: seconds, ratios 0 to 1, FLOP/s, tokens per second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from itertools import compress
from typing import Any, Literal, NamedTuple, TypeAlias, cast


class Severity(IntEnum):
    """How bad an event is. A notice never pages."""

    NOTICE = 1
    WARNING = 2
    CRITICAL = 3

    @property
    def label(self) -> str:
        """The word in JSON, labels and messages: `notice`, `warning`, `critical`."""
        return self.name.lower()


#: Every kind of anomaly, in triage order: is it there, is it moving, is it right, is it slow, is it worth it.
KINDS = (
    "crashed",
    "stalled",
    "non_finite_loss",
    "loss_spike",
    "loss_divergence",
    "grad_norm_spike",
    "plateau",
    "mfu_drop",
    "slowdown",
    "over_budget",
    "behind_baseline",
)

State: TypeAlias = Literal["waiting", "running", "finished", "stalled", "crashed"]
STATES: tuple[State, ...] = ("waiting", "running", "finished", "stalled", "crashed")
Scope: TypeAlias = Literal["global", "device"]


class Chunk(NamedTuple):
    """Bytes of one file in the order in which they were written."""

    data: bytes
    mtime: float  # unix seconds: when the file was last written, as seen at this read
    #: What happened to the file before these bytes: "rotated" (same stream goes on in a new file) or "replaced"
    #: (truncated or written anew: an unfinished line before it never ends).
    change: Literal["rotated", "replaced"] | None = None
    at_end: bool = True  # nothing more was there to read


class Step(NamedTuple):
    """One training step as one log line (or record) tells it."""

    step: int
    loss: float | None = None  # as the log shows it, nats per token; see `Facts.loss_kind`
    raw_loss: float | None = None  # the step's own loss, where `loss` is smoothed and it can be recovered
    learning_rate: float | None = None
    lr_multiplier: float | None = None  # schedule position 0..1 where only that is logged (nanochat's lrm)
    grad_norm: float | None = None
    mfu_ratio: float | None = None  # 0..1; placeholders of the trainer are None
    step_time_s: float | None = None
    tokens_per_second: float | None = None  # scope: `Facts.tokens_scope`
    tokens_total: float | None = None  # consumed so far
    tflops: float | None = None  # TFLOP/s per device
    epoch: float | None = None
    total_steps: int | None = None  # where each line carries it
    time: float | None = None  # unix seconds that the line itself carries
    line: int = 0  # 1-based number in the source, 0 where it has no lines


Column: TypeAlias = "Sequence[float | None]"


@dataclass(frozen=True, slots=True)
class Steps(Sequence[Step]):
    """Steps in a row, a column for each field of `Step`, all of one length: several times faster than one by one."""

    step: Sequence[int]
    loss: Column
    raw_loss: Column
    learning_rate: Column
    lr_multiplier: Column
    grad_norm: Column
    mfu_ratio: Column
    step_time_s: Column
    tokens_per_second: Column
    tokens_total: Column
    tflops: Column
    epoch: Column
    total_steps: Sequence[int | None]
    time: Column
    line: Sequence[int]

    @classmethod
    def of(cls, steps: Sequence[Step]) -> Steps:
        """These steps as columns."""
        if isinstance(steps, Steps):
            return steps
        return cls(*(list(c) for c in zip(*steps, strict=True))) if steps else cls(*([] for _ in Step._fields))

    @property
    def columns(self) -> tuple[Sequence[Any], ...]:
        """All columns, in the order of the fields."""
        return tuple(getattr(self, name) for name in Step._fields)

    @property
    def rates(self) -> Column:
        """The learning rate, or its multiplier where only that is logged."""
        return _filled(self.learning_rate, self.lr_multiplier)

    @property
    def own_losses(self) -> Column:
        """Each step's own loss, nats per token: recovered where the log smooths it."""
        return _filled(self.raw_loss, self.loss)

    def part(self, start: int, end: int) -> Steps:
        """The steps from position `start` to before `end`."""
        if not start and end >= len(self.step):
            return self
        return cast("Steps", self[start:end])

    def where(self, keep: Iterable[bool]) -> Steps:
        """The steps that `keep` says."""
        keep = list(keep)
        return self if all(keep) else Steps(*(list(compress(column, keep)) for column in self.columns))

    def __len__(self) -> int:
        return len(self.step)

    def __getitem__(self, at: Any) -> Any:
        """The step at a position, or the steps of a slice."""
        if isinstance(at, slice):
            return Steps(*(column[at] for column in self.columns))
        return Step(*(column[at] for column in self.columns))

    def __iter__(self) -> Iterator[Step]:
        return map(Step, *self.columns)


def _filled(column: Column, other: Column) -> Column:
    """A column with the values of another one where it has none."""
    missing = column.count(None)
    if missing in (0, len(column)):
        return other if missing else column
    return [v if v is not None else o for v, o in zip(column, other, strict=True)]


@dataclass(frozen=True, slots=True)
class Facts:
    """What header lines say about a run. Later facts complete and override earlier ones (`merged`)."""

    format: str | None = None  # name in the parse registry
    total_steps: int | None = None
    parameters: float | None = None
    flops_per_token: float | None = None  # training FLOPs (forward and backward) per token
    gpu: str | None = None  # as the log names it
    peak_flops: float | None = None  # FLOP/s of one device, dense, as the log states it; inf and 0 are left out
    precision: str | None = None  # "bf16", "fp8", … of the matrix products
    world_size: int | None = None  # devices in the job
    tokens_per_step: float | None = None  # global batch
    sequence_length: int | None = None
    tokens_planned: float | None = None
    resumed_from: int | None = None  # step at which this process resumed
    loss_kind: str | None = None  # "raw", "mean of N steps", "moving average (0.9)", "one rank"
    tokens_scope: Scope | None = None
    step_inferred: str | None = None  # how the step number was inferred, where the log does not print it
    run_id: str | None = None
    name: str | None = None
    flush_s: float | None = None  # the source itself may hold data back for so many seconds

    def merged(self, newer: Facts) -> Facts:
        """These facts, completed and overridden by the ones that `newer` knows."""
        known = {f.name: value for f in fields(newer) if (value := getattr(newer, f.name)) is not None}
        return replace(self, **known)


@dataclass(frozen=True, slots=True)
class Start:
    """A new process began to write (a trainer's first header line, a new file): a new run or a resumed one follows."""

    time: float | None = None
    line: int = 0


@dataclass(frozen=True, slots=True)
class Validation:
    """One evaluation result. `metric`: loss, bits_per_byte, core, accuracy, … ; `step` None: of the latest step."""

    metric: str
    value: float
    step: int | None = None
    time: float | None = None
    line: int = 0


@dataclass(frozen=True, slots=True)
class Pause:
    """Time spent outside the steps. `seconds` where the log tells how long it took."""

    kind: Literal["startup", "evaluation", "checkpoint", "sampling"]
    step: int | None = None
    seconds: float | None = None
    time: float | None = None
    line: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    """The log says that the run came to its regular end."""

    time: float | None = None
    line: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """An error line. `kind` is a name of parse.markers; `fatal` False for what is no crash (Ctrl-C, skipped steps)."""

    kind: str
    text: str  # the line, cleaned, at most 500 characters
    fatal: bool = True
    time: float | None = None
    line: int = 0


Record: TypeAlias = Step | Steps | Facts | Start | Validation | Pause | Finish | Failure


def steps_in(records: Iterable[Record]) -> Iterator[Step]:
    """The steps among `records`, one by one."""
    for record in records:
        if isinstance(record, Step):
            yield record
        elif isinstance(record, Steps):
            yield from record


@dataclass(frozen=True, slots=True)
class Event:
    """An anomaly that began, or rose to a higher severity, at `step`."""

    step: int | None
    kind: str
    severity: Severity
    value: float | None
    expected: float | None
    message: str
    time: float | None = None  # unix seconds, where known


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the bounds that should hold the truth in 90 % of cases."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Levels:
    """What the detectors compare with, and what they see now."""

    loss_baseline: float | None = None
    grad_norm_baseline: float | None = None
    mfu_baseline: float | None = None  # ratio
    mfu_recent: float | None = None  # ratio, short running median
    step_time_baseline: float | None = None  # seconds
    step_time_recent: float | None = None  # seconds, short running median
    steps_since_improvement: int | None = None
    stall_after_s: float | None = None  # silence longer than this is a stall
    loss_spike_since: int | None = None  # step at which the open spike began


@dataclass(frozen=True, slots=True)
class Cost:
    """Money. `estimated_total` None while the end is unknown."""

    so_far: float
    estimated_total: float | None
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class Comparison:
    """This run beside a baseline run at the same step; ratios are this run over the baseline."""

    run: str
    step: int
    loss: float | None = None
    baseline_loss: float | None = None
    mfu_ratio: float | None = None
    baseline_mfu_ratio: float | None = None
    step_time_s: float | None = None
    baseline_step_time_s: float | None = None
    steps_ahead: float | None = None  # baseline step of equal loss minus this step; negative: behind


@dataclass(frozen=True, slots=True)
class Goodput:
    """Wall time of a run and where it went, seconds. `ratio` is productive over wall."""

    ratio: float
    wall_s: float
    productive_s: float
    lost: Mapping[str, float] = field(default_factory=dict)  # startup, evaluation, checkpoint, stall, rework, other


class CurvePoint(NamedTuple):
    """One point of the run's curve over steps, thinned so that a run has at most a few hundred at stable steps."""

    step: int
    loss: float | None = None  # as the log shows it
    step_time_s: float | None = None
    mfu_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a scrape or a report tells about one run, taken at one moment."""

    run: str
    source: str
    state: State = "waiting"
    facts: Facts = field(default_factory=Facts)
    runs: int = 0  # runs seen in this source so far; the others are over
    restarts: int = 0  # times that the step went back or a process resumed
    step: int | None = None
    first_step: int | None = None
    steps_seen: int = 0  # distinct steps
    total_steps: int | None = None
    progress_ratio: float | None = None
    loss: float | None = None
    raw_loss: float | None = None
    best_loss: float | None = None
    validations: Mapping[str, Validation] = field(default_factory=dict)  # latest by metric
    learning_rate: float | None = None
    lr_multiplier: float | None = None
    grad_norm: float | None = None
    mfu_ratio: float | None = None
    mfu_source: Literal["logged", "computed"] | None = None
    step_time_s: float | None = None
    tokens_per_second: float | None = None
    tokens_scope: Scope | None = None
    tokens_total: float | None = None
    epoch: float | None = None
    levels: Levels = field(default_factory=Levels)
    loss_per_1000_steps: float | None = None
    mfu_relative_spread: float | None = None
    remaining_s: float | None = None
    final_loss: Interval | None = None
    cost: Cost | None = None
    goodput: Goodput | None = None
    comparison: Comparison | None = None
    target_loss: float | None = None  # the user's goal
    curve: tuple[CurvePoint, ...] = ()  # of the current run, ascending steps
    events: tuple[Event, ...] = ()  # of the current run, oldest first, the last few hundred
    event_counts: Mapping[tuple[str, Severity], int] = field(default_factory=dict)  # never falls
    active: Mapping[str, Severity] = field(default_factory=dict)  # open conditions
    failures: tuple[Failure, ...] = ()  # of the current run, the last few
    failure_counts: Mapping[str, int] = field(default_factory=dict)  # never falls
    last_step_time: float | None = None  # unix seconds
    last_change: float | None = None  # unix seconds: last time that the source grew


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How reading of one source goes."""

    source: str  # path or address as the user may know it
    run: str
    kind: str  # file, wandb, …
    up: bool  # could be read at the last try
    waiting: bool = False  # does not exist yet
    problem: str | None = None  # why it is not up, in one sentence
    size_bytes: int | None = None
    lag_bytes: int | None = None  # written but not read yet
    last_change: float | None = None  # unix seconds
    lines_read: int = 0
    lines_parsed: int = 0  # lines that gave a record
    parse_errors: Mapping[str, int] = field(default_factory=dict)  # by reason
    rotations: int = 0
    replacements: int = 0
    lost_bytes: int = 0  # known to be gone before they could be read
