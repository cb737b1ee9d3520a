"""The framing of TensorBoard event files (TFRecord): bytes in any split → records.

A record is its length (8 bytes, little endian), the masked crc32c of the length, the data, its masked crc32c
(tensorflow/core/lib/io/record_writer.h). The checksum of the length guards the framing; that of the data is checked
by whoever uses the data (`is_sound`), because crc32c in pure Python costs 50 ns a byte and images are not used.

Lossy cases: a record longer than `MAX_RECORD` is passed over (no scalar is); where a length does not fit its checksum,
reading goes on at the next place that looks like a header (`damaged`); a record cut off at the end waits for its rest.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from functools import lru_cache
from struct import Struct
from typing import Any

from training_monitor.parse.base import Counts

MAX_RECORD = 1 << 16  # bytes
HEADER = 12  # bytes: length and its checksum
_HEADER = Struct("<QI")
_CRC = Struct("<I")


def _table() -> tuple[int, ...]:
    """Castagnoli polynomial, reflected."""
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_TABLE = _table()


def masked_crc32c(data: bytes) -> int:
    """
    >>> hex(masked_crc32c(b"123456789"))  # crc32c is 0xe3069283
    '0xc78ab0e5'
    """
    table, crc = _TABLE, 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@lru_cache(maxsize=1024)
def _length_crc(length: int) -> int:
    return masked_crc32c(length.to_bytes(8, "little"))


class TfRecords:
    """Splits one file into records, each with the checksum that it claims."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._forget()

    def _forget(self) -> None:
        self._rest = b""  # begun record, at most MAX_RECORD and its frame
        self._skip = 0  # bytes to come of a record that is passed over
        self._is_lost = False  # looking for a header

    def feed(self, data: bytes) -> list[tuple[bytes, int]]:
        """(data, claimed masked crc32c) of the records that `data` completes."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        data = self._rest + data if self._rest else data
        out: list[tuple[bytes, int]] = []
        at, n = 0, len(data)
        while at + HEADER <= n:
            length, crc = _HEADER.unpack_from(data, at)
            if _length_crc(length) != crc:
                at = self._next_header(data, at)
                continue
            self._is_lost = False
            end = at + HEADER + length + 4
            if length > MAX_RECORD:
                self._skip = max(0, end - n)
            elif end > n:
                break
            else:
                out.append((data[at + HEADER : end - 4], _CRC.unpack_from(data, end - 4)[0]))
            at = end
        self._rest = data[at:]
        return out

    def _next_header(self, data: bytes, at: int) -> int:
        """The next place after `at` that may be a header: a length below 16 MiB has five zero bytes in it."""
        if not self._is_lost:
            self._is_lost = True
            self._counts.error("damaged")
        zeros = data.find(b"\0\0\0\0\0", at + 4)
        return zeros - 3 if zeros >= 0 else max(at + 1, len(data) - HEADER + 1)

    def end(self) -> None:
        """The next byte is the first of a new file."""
        self._forget()

    def state(self) -> dict[str, Any]:
        return {"rest": b64encode(self._rest).decode(), "skip": self._skip, "is_lost": self._is_lost}

    def restore(self, state: dict[str, Any]) -> None:
        self._rest = b64decode(state["rest"])
        self._skip, self._is_lost = state["skip"], state["is_lost"]


def is_sound(data: bytes, crc: int) -> bool:
    """Whether `data` is what its checksum says."""
    return masked_crc32c(data) == crc
