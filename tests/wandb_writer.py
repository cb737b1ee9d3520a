"""Writes `.wandb` files record by record, for cases that the real client does not make."""

from __future__ import annotations

import json
import struct
from zlib import crc32

HEADER = b":W&B\xe1\xbe\x00"
BLOCK = 32_768


def varint(n: int) -> bytes:
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*out, n])


def field(number: int, value: bytes | int) -> bytes:
    """A bytes or varint field."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def record(number: int, content: bytes, n: int = 1) -> bytes:
    return field(1, n) + field(number, content)


def history(row: dict[str, object]) -> bytes:
    """A history row as wandb-core writes it."""
    items = b"".join(
        field(1, b"".join(field(2, part.encode()) for part in name.split(".")) + field(16, json.dumps(value).encode()))
        for name, value in row.items()
    )
    return record(2, items + field(2, field(1, 7)))


def output(text: str, stdout: bool = False) -> bytes:
    stream = field(1, 1) if stdout else b""
    return record(13, stream + field(2, field(1, 1_795_371_071) + field(2, 5)) + field(3, text.encode()))


def run(run_id: str = "abc", start: int = 1_795_371_071) -> bytes:
    return record(17, field(1, run_id.encode()) + field(8, b"my run") + field(17, field(1, start)))


def exited(code: int) -> bytes:
    return record(18, field(1, code) if code else b"")


def header(version: str) -> bytes:
    return record(21, field(1, field(1, version.encode())))


def file(*records: bytes) -> bytes:
    """The records with header, blocks and checksums."""
    out = bytearray(HEADER)
    for data in records:
        first, rest = True, data
        while first or rest:
            left = BLOCK - len(out) % BLOCK
            if left < 7:
                out += bytes(left)
                left = BLOCK
            piece, rest = rest[: left - 7], rest[left - 7 :]
            kind = (1 if not rest else 2) if first else (4 if not rest else 3)
            out += struct.pack("<IHB", crc32(bytes([kind]) + piece), len(piece), kind) + piece
            first = False
    return bytes(out)
