"""The messages inside `.wandb` records: bytes of one protobuf message → plain values.

Field numbers are those of wandb/proto/wandb_internal.proto. Fields that are not named here are passed over.
"""

from __future__ import annotations

import json
import re
from typing import Any

from training_monitor.parse.protobuf import BYTES, FIXED64, VARINT, Malformed, double, fields, signed, text, zigzag
from training_monitor.parse.rows import facts_of, flattened
from training_monitor.records import Facts

#: Field numbers of `Record`.
HISTORY, CONFIG, ALERT, OUTPUT_RAW, RUN, EXIT, FILE_HEADER = 2, 5, 10, 13, 17, 18, 21
KNOWN = frozenset((*range(1, 28), 100, 200))
ENVELOPE = frozenset((1, 16, 19, 200))  # num, control, uuid, _info stand beside the content

MAX_TEXT = 500  # characters of a text that are kept
MAX_VALUE = 1 << 16  # bytes of a value that may be an object with metrics in it; histograms and tables are longer


def history_row(data: bytes, at: int, end: int) -> dict[str, Any]:
    """All items of a `HistoryRecord` by name; nested names are joined by dots. Raises Malformed."""
    row: dict[str, Any] = {}
    for number, kind, start, stop in fields(data, at, end):
        if number == 1 and kind == BYTES:
            name, value = item(data, start, stop)
            row[name] = value
    return flattened(row)


def item(data: bytes, at: int, end: int) -> tuple[str, Any]:
    """Name and value of a `HistoryItem` or `ConfigItem`; of two encodings of a value the typed one counts."""
    key, value = "", None
    parts: list[str] = []
    for number, kind, start, stop in fields(data, at, end):
        if number == 1 and kind == BYTES:
            key = text(data, start, stop)
        elif number == 2 and kind == BYTES:
            parts.append(text(data, start, stop))
        elif number == 16 and kind == BYTES:
            value = _json(data[start:stop])
        elif number == 4 and kind == VARINT:
            value = bool(start)
        elif number == 5 and kind == VARINT:
            value = zigzag(start)
        elif number == 6 and kind == FIXED64:
            value = double(data, start)
        elif number == 7 and kind == BYTES:
            value = text(data, start, stop)
        elif number == 8 and kind == BYTES:
            value = _json(data[start:stop])
    return ".".join(parts) or key, value


def _json(data: bytes) -> Any:
    """The value that wandb wrote, with bare NaN and Infinity; None for what is too long to hold a metric."""
    return json.loads(data) if len(data) <= MAX_VALUE else None


def config_facts(data: bytes, at: int, end: int) -> Facts | None:
    """What a `ConfigRecord` says about the run."""
    config: dict[str, Any] = {}
    for number, kind, start, stop in fields(data, at, end):
        if number == 1 and kind == BYTES:
            name, value = item(data, start, stop)
            config[name] = value
    return facts_of(config)


def output_time(data: bytes, at: int, end: int) -> float | None:
    """When a piece of console output was written."""
    return next(
        (timestamp(data, a, b) for number, kind, a, b in fields(data, at, end) if number == 2 and kind == BYTES), None
    )


def timestamp(data: bytes, at: int, end: int) -> float | None:
    """Unix seconds of a `google.protobuf.Timestamp`."""
    seconds = nanos = 0
    try:
        for number, kind, value, _ in fields(data, at, end):
            if kind == VARINT and number == 1:
                seconds = signed(value)
            elif kind == VARINT and number == 2:
                nanos = value
    except Malformed:
        return None
    return seconds + nanos / 1e9 if seconds else None


def output(data: bytes, at: int, end: int) -> tuple[bool, bytes]:
    """Whether it is stdout, and the text, of an `OutputRawRecord`."""
    stdout, piece = False, b""
    for number, kind, start, stop in fields(data, at, end):
        if number == 1 and kind == VARINT:
            stdout = start == 1
        elif number == 3 and kind == BYTES:
            piece = data[start:stop]
    return stdout, piece


def run(data: bytes, at: int, end: int) -> tuple[Facts, float | None]:
    """What a `RunRecord` says, and its start in unix seconds."""
    known: dict[str, Any] = {}
    facts, began = Facts(), None
    for number, kind, start, stop in fields(data, at, end):
        if kind != BYTES:
            continue
        if number == 1:
            known["run_id"] = text(data, start, min(stop, start + MAX_TEXT))
        elif number == 8:
            known["name"] = text(data, start, min(stop, start + MAX_TEXT))
        elif number == 4:
            facts = config_facts(data, start, stop) or facts
        elif number == 17:
            began = timestamp(data, start, stop)
    return facts.merged(Facts(**known)), began


def exit_code(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Code and runtime in seconds of a `RunExitRecord`."""
    numbers = {number: signed(value) for number, kind, value, _ in fields(data, at, end) if kind == VARINT}
    return numbers.get(1, 0), numbers.get(2, 0)


def alert(data: bytes, at: int, end: int) -> str:
    """Level, title and text of an `AlertRecord`."""
    parts = {
        number: text(data, start, min(stop, start + MAX_TEXT))
        for number, kind, start, stop in fields(data, at, end)
        if kind == BYTES
    }
    return ": ".join(filter(None, (parts.get(3), parts.get(1), parts.get(2))))


def producer(data: bytes, at: int, end: int) -> tuple[int, int] | None:
    """Version of the client in a `HeaderRecord` (version_info.producer, `0.31.0+15f8cbc…`)."""
    for number, kind, start, stop in fields(data, at, end):
        if number == 1 and kind == BYTES:
            for inner, inner_kind, first, last in fields(data, start, stop):
                if inner == 1 and inner_kind == BYTES:
                    version = re.match(r"(\d{1,4})\.(\d{1,4})", text(data, first, last))
                    return (int(version[1]), int(version[2])) if version else None
    return None
