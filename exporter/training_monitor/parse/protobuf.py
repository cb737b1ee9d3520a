"""The protobuf wire format, as much as `.wandb` and TensorBoard files need: no schema, no dependency.

Source: protobuf.dev/programming-guides/encoding. A message is a run of (field number, wire type, value); what
is not known is passed over, so a newer writer's fields do no harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import unpack_from

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Malformed(ValueError):
    """Bytes that are no protobuf message."""


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The unsigned number at `at`, and the place after it. Raises Malformed."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise Malformed(f"no varint at byte {at}")


def fields(data: bytes, at: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int, int]]:
    """Each field of a message as (number, wire type, start, end) of its value; of a varint, `start` is the value.

    Raises Malformed.
    """
    end = len(data) if end is None else end
    while at < end:
        tag, at = varint(data, at, end)
        kind = tag & 7
        if kind == VARINT:
            value, at = varint(data, at, end)
            yield tag >> 3, kind, value, at
            continue
        if kind == BYTES:
            length, at = varint(data, at, end)
        elif kind == FIXED64:
            length = 8
        elif kind == FIXED32:
            length = 4
        else:
            raise Malformed(f"wire type {kind}")
        if at + length > end:
            raise Malformed(f"a field of {length} bytes ends after its message")
        yield tag >> 3, kind, at, at + length
        at += length


def signed(value: int) -> int:
    """An int32 or int64 from its varint."""
    return value - (1 << 64) if value >= 1 << 63 else value


def zigzag(value: int) -> int:
    """A sint64 from its varint."""
    return (value >> 1) ^ -(value & 1)


def double(data: bytes, at: int) -> float:
    """The double in the eight bytes at `at`."""
    return float(unpack_from("<d", data, at)[0])


def text(data: bytes, start: int, end: int) -> str:
    """A string field; bytes that are not UTF-8 become U+FFFD."""
    return data[start:end].decode("utf-8", "replace")
