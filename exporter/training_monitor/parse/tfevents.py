"""TensorBoard event files, `events.out.tfevents.*`: one event per tag and step, put together to one record per step.

Read are scalars (`simple_value`, and `tensor` of one number as TensorFlow 2 writes them) whose tag `parse.aliases`
knows, and HF Trainer's arguments, which hold `max_steps`. Other summaries are passed over. Values are float32. Field
numbers: tensorflow/core/util/event.proto, tensorflow/core/framework/{summary,tensor}.proto.

A step is told as soon as the tags of the step before have come, else when the step moves on. Lossy cases: tags that are
logged more rarely come as an addition to their step; a tag logged twice for one step is told twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from struct import Struct, unpack_from
from typing import Any, ClassVar

from training_monitor.parse.aliases import field_of
from training_monitor.parse.base import Counts
from training_monitor.parse.protobuf import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Malformed,
    double,
    fields,
    signed,
    text,
    varint,
)
from training_monitor.parse.rows import RowReader, facts_of, plan_of
from training_monitor.parse.tfrecord import TfRecords, is_sound
from training_monitor.records import Facts, Record, Start

FLUSH_S = 120.0  # tensorboardX and TensorFlow hold that long; torch writes each event at once
ARGUMENTS = "args/text_summary"  # transformers/integrations: TrainingArguments as JSON
END = "train/total_flos"  # tag that HF Trainer writes at the end of training
MAX_TAGS = 64  # tags of one step that are put together

#: A short event of one `simple_value`: time, step, length of the tag, tag, value.
_PLAIN = re.compile(
    rb"\t(.{8})(?:\x10([\x80-\xff]{0,8}[\x00-\x7f]))?\*.\n.\n([\x01-\x7f])([ -~]{1,100})\x15(.{4})", re.DOTALL
)
_FLOAT, _DOUBLE = Struct("<f"), Struct("<d")
_FLOATS = {1: ("<f", 4), 2: ("<d", 8), 3: ("<i", 4), 9: ("<q", 8)}  # DataType → one number in tensor_content


class TfEventsDecoder:
    """Decodes one event file."""

    name: ClassVar[str] = "tensorboard"
    title: ClassVar[str] = "TensorBoard event file"
    example: ClassVar[str] = "runs/Nov22_18-17-29_vm/events.out.tfevents.1795371449.vm"
    versions: ClassVar[str] = "tensorboardX 2.6, torch 2.13 SummaryWriter, HF Trainer 5.23, Lightning 2.6, TensorFlow 2"
    reads: ClassVar[str] = "scalars with a name of the alias table, max_steps of HF Trainer"
    smoothed: ClassVar[str] = "as the trainer logs it"
    limits: ClassVar[str] = "float32; tensorboardX writes after 4 KiB or 120 s"

    def __init__(self) -> None:
        self.counts = Counts()
        self._records = TfRecords(self.counts)
        self._rows = RowReader()
        self._step = 0
        self._time: float | None = None  # unix seconds of the first event of the step
        self._begun: dict[str, float] = {}  # tags of the step that are not told yet
        self._told: list[str] = []  # tags of the step that are told
        self._expected: list[str] = []  # tags of the step before

    @property
    def format(self) -> str | None:
        return self.name if self.counts.lines else None

    def feed(self, data: bytes) -> list[Record]:
        out: list[Record] = []
        for record, crc in self._records.feed(data):
            before = len(out)
            try:
                plain = _PLAIN.fullmatch(record)
                if plain is None or not self._plain(plain, record, crc, out):
                    self._event(record, crc, out)
            except (Malformed, ValueError, RecursionError):
                self.counts.error("malformed")
            self.counts.lines += 1
            self.counts.parsed += len(out) > before
        return out

    def end(self) -> list[Record]:
        """The step that no later one has completed. The next byte is the first of another file."""
        out: list[Record] = []
        self._moves_on(self._step, out)
        self._records.end()
        return out

    def state(self) -> dict[str, Any]:
        return {
            "records": self._records.state(),
            "rows": self._rows.state(),
            "step": [self._step, self._time, dict(self._begun), list(self._told), list(self._expected)],
            "counts": [self.counts.lines, self.counts.parsed, dict(self.counts.errors)],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError if `state` is of another version."""
        self._records.restore(state["records"])
        self._rows.restore(state["rows"])
        self._step, self._time, begun, told, expected = state["step"]
        self._begun, self._told, self._expected = dict(begun), list(told), list(expected)
        self.counts.lines, self.counts.parsed, errors = state["counts"]
        self.counts.errors.clear()
        self.counts.errors.update(errors)

    def _plain(self, match: re.Match[bytes], data: bytes, crc: int, out: list[Record]) -> bool:
        """Takes what `_PLAIN` took apart, or says that the length of the tag does not fit."""
        time, step, length, tag, value = match.groups()
        if length[0] != len(tag):
            return False
        name = tag.decode("ascii")
        if _is_wanted(name):
            if is_sound(data, crc):
                at = varint(step, 0, len(step))[0] if step else 0
                self._scalar(name, _FLOAT.unpack(value)[0], signed(at), _DOUBLE.unpack(time)[0], out)
            else:
                self.counts.error("bad_checksum")
        return True

    def _event(self, data: bytes, crc: int, out: list[Record]) -> None:
        time, step, summary, is_first = None, 0, None, False
        for number, kind, start, end in fields(data):
            if number == 1 and kind == FIXED64:
                time = double(data, start)
            elif number == 2 and kind == VARINT:
                step = signed(start)
            elif number == 5 and kind == BYTES:
                summary = (start, end)
            elif number == 3 and kind == BYTES:
                is_first = True
        if is_first and is_sound(data, crc):
            out.append(Start(time))
            out.append(Facts(format=self.name, flush_s=FLUSH_S))
        elif summary is not None:
            values = list(_scalars(data, *summary))
            if values and not is_sound(data, crc):
                self.counts.error("bad_checksum")
                return
            for tag, value in values:
                self._scalar(tag, value, step, time, out)

    def _scalar(self, tag: str, value: float | str, step: int, time: float | None, out: list[Record]) -> None:
        if isinstance(value, str):
            if facts := facts_of(_arguments(value)):
                out.append(facts)
            return
        if step != self._step or tag in self._begun or tag == END:
            self._moves_on(step, out)
        alias = field_of(tag)
        if tag == END or (alias and alias.field.startswith("validation:")):
            self._rows.take(plan_of(("step", tag)), (step, value), out, time=time)
            return
        if not self._begun:
            self._time = time
        self._begun[tag] = value
        is_complete = len(self._begun) == len(self._expected) and all(t in self._begun for t in self._expected)
        if is_complete or len(self._begun) >= MAX_TAGS:
            self._tell(out)

    def _moves_on(self, step: int, out: list[Record]) -> None:
        self._tell(out)
        if self._told:
            self._expected = self._told
        self._step, self._told = step, []

    def _tell(self, out: list[Record]) -> None:
        if self._begun:
            plan = plan_of(("step", *self._begun))
            self._rows.take(plan, (self._step, *self._begun.values()), out, time=self._time)
            if len(self._told) < MAX_TAGS:
                self._told = [*self._told, *(tag for tag in self._begun if tag not in self._told)]
            self._begun = {}


def _is_wanted(tag: str) -> bool:
    alias = field_of(tag)
    if alias is None:
        return tag in (ARGUMENTS, END)
    return alias.field not in ("step", "time")  # the event has its own


def _scalars(data: bytes, at: int, end: int) -> Iterator[tuple[str, float | str]]:
    """Tags that matter and their values; of `ARGUMENTS` the text."""
    for number, kind, start, stop in fields(data, at, end):
        if number != 1 or kind != BYTES:
            continue
        tag = ""
        value: float | str | None = None
        for field, field_kind, first, last in fields(data, start, stop):
            if field == 1 and field_kind == BYTES:
                tag = text(data, first, last)
                if not _is_wanted(tag):
                    break
            elif field == 2 and field_kind == FIXED32:
                value = float(unpack_from("<f", data, first)[0])
            elif field == 8 and field_kind == BYTES:
                value = _tensor(data, first, last, tag)
        else:
            if value is not None:
                yield tag, value


def _tensor(data: bytes, at: int, end: int, tag: str) -> float | str | None:
    """The one number of a `TensorProto`, or the first text of `ARGUMENTS`; None for anything else."""
    number_type, found = 0, None
    for field, kind, start, stop in fields(data, at, end):
        if field == 1 and kind == VARINT:
            number_type = start
        elif field == 4 and kind == BYTES and number_type in _FLOATS and stop - start == _FLOATS[number_type][1]:
            found = float(unpack_from(_FLOATS[number_type][0], data, start)[0])
        elif field == 5 and stop - start == 4:
            found = float(unpack_from("<f", data, start)[0])
        elif field == 6 and stop - start == 8:
            found = double(data, start)
        elif field == 8 and kind == BYTES and tag == ARGUMENTS:
            return text(data, start, stop)
    return None if tag == ARGUMENTS else found


def _arguments(written: str) -> dict[str, Any]:
    arguments = json.loads(written)
    return arguments if isinstance(arguments, dict) else {}
