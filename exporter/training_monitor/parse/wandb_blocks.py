"""The framing of `.wandb` files: bytes in any split → whole records.

A header of 7 bytes (`:W&B`, 0xBEE1, version), then blocks of 32 KiB counted from the start of the file. In a block
lie physical records: crc32 (zlib's, of the type byte and the data; not the masked crc32c of leveldb), length, type
(1 whole, 2 first, 3 middle, 4 last piece), data. Fewer than 7 bytes at the end of a block are padding. Source: wandb
core/internal/transactionlog and, up to 0.29, wandb/sdk/internal/datastore.py.

Lossy cases: after a damaged record the rest of its block is skipped (`damaged`), since its length cannot be trusted; a
record longer than `MAX_RECORD` is skipped (`record_too_long`); one that is cut off at the end of the file waits.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from struct import Struct
from typing import Any
from zlib import crc32

from training_monitor.parse.base import Counts

MAGIC = b":W&B"
HEADER = 7  # bytes of the file's header and of a physical record's alike
BLOCK = 32_768
MAX_RECORD = 4 << 20  # bytes of one record put together from pieces; a row of scalars has some hundred

_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_TYPE_CRC = tuple(crc32(bytes([kind])) for kind in range(5))
_RECORD = Struct("<IHB")


class Blocks:
    """Puts the records of one file together."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._forget()

    def _forget(self) -> None:
        self._offset = 0  # in the file, of the first byte of `_rest`
        self._rest = b""  # the begun physical record, at most one block
        self._skip = 0  # bytes to come that belong to a damaged block
        self._pieces: list[bytes] = []
        self._size = -1  # bytes of the begun record; -1: none is begun
        self._is_wandb: bool | None = None  # by its header

    def feed(self, data: bytes) -> list[bytes]:
        """The records that `data` completes."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            self._offset += skipped
            data = data[skipped:]
            if not data:  # nor is the rest of the block to be taken for records when more comes
                return []
        data = self._rest + data if self._rest else data
        out: list[bytes] = []
        at = self._header(data) if not self._is_wandb else 0
        at = self._records(data, at, out) if self._is_wandb else at
        self._skip = max(0, at - len(data))
        self._rest = data[at:]
        self._offset += min(at, len(data))
        return out

    def end(self) -> None:
        """The next byte is the first of a new file."""
        self._forget()

    def _header(self, data: bytes) -> int:
        """Where the records begin. A file of another kind is swallowed."""
        if self._is_wandb is None and len(data) >= HEADER:
            self._is_wandb = data[:4] == MAGIC
            if self._is_wandb:
                if data[6] != 0:
                    self._counts.error("unknown_version")
                return HEADER
            self._counts.error("not_wandb")
        return 0 if self._is_wandb is None else len(data)

    def _records(self, data: bytes, at: int, out: list[bytes]) -> int:
        """Takes the physical records of `data` from `at` on; returns where the first incomplete one begins."""
        n, base, unpack, append = len(data), self._offset, _RECORD.unpack_from, out.append
        while True:
            left = BLOCK - (base + at) % BLOCK
            if left < HEADER:
                at += left
                left = BLOCK
            if at + HEADER > n:
                return at
            crc, length, kind = unpack(data, at)
            end = at + HEADER + length
            if not 1 <= kind <= 4 or HEADER + length > left:
                at = self._damaged(at + left, is_padding=not crc and not length and not kind)
                continue
            if end > n:
                return at
            piece = data[at + HEADER : end]
            if crc32(piece, _TYPE_CRC[kind]) != crc:
                at = self._damaged(at + left)
                continue
            if kind == _WHOLE:
                append(piece)
            else:
                self._piece(kind, piece, out)
            at = end

    def _damaged(self, next_block: int, is_padding: bool = False) -> int:
        """Gives up the block and whatever was begun. A block of zeros was made room for but never written."""
        self._counts.error("unwritten" if is_padding else "damaged")
        self._pieces, self._size = [], -1
        return next_block

    def _piece(self, kind: int, piece: bytes, out: list[bytes]) -> None:
        if kind == _FIRST:
            self._pieces, self._size = [], 0
        elif self._size < 0:
            return  # its first piece was lost
        self._size += len(piece)
        if self._size <= MAX_RECORD:
            self._pieces.append(piece)
        elif self._pieces:
            self._pieces = []
            self._counts.error("record_too_long")
        if kind == _LAST:
            if self._pieces:
                out.append(b"".join(self._pieces))
            self._pieces, self._size = [], -1

    def state(self) -> dict[str, Any]:
        return {
            "offset": self._offset,
            "rest": b64encode(self._rest).decode(),
            "skip": self._skip,
            "pieces": [b64encode(piece).decode() for piece in self._pieces],
            "size": self._size,
            "is_wandb": self._is_wandb,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._offset, self._skip, self._size = state["offset"], state["skip"], state["size"]
        self._rest = b64decode(state["rest"])
        self._pieces = [b64decode(piece) for piece in state["pieces"]]
        self._is_wandb = state["is_wandb"]
