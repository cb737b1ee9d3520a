"""Bytes in any split → clean lines with their numbers.

Lines end in LF, CRLF or a lone CR (progress bars). ANSI escapes and NULs are taken out; two or more NULs in a row (the
hole that a truncated file leaves, or a block never written) end a line, single ones come from UTF-16. Bytes that are
not UTF-8 become U+FFFD and are counted. Of a line longer than `MAX_LINE` the first `MAX_LINE` bytes are kept, the rest
is skipped with bounded memory. Blank lines may or may not come out: they carry nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from training_monitor.parse.base import Counts

MAX_LINE = 65_536  # bytes; the longest step line known is an HF dict of some 2 kB

_HOLE = re.compile(rb"\0{2,}")
_ESCAPE = re.compile(
    rb"\x1b(?:"
    rb"\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    rb"|\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: titles, links
    rb"|[ -/][0-~]"  # character sets
    rb"|[0-Z\\^_`a-z{|}~])?"
)
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


class Lines:
    """Splits a stream into lines; `counts` is told what had to be repaired.

    A line's number is one more than the LFs before it, so that an editor finds it; the pieces between CRs share it.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._rest = b""  # the begun line, at most MAX_LINE bytes and a CR
        self._number = 1  # of the begun line
        self._is_cut = False  # the begun line is longer than what `_rest` keeps
        self._nuls = b""  # up to two NULs at the end of the data

    def feed(self, data: bytes) -> tuple[Sequence[int], list[bytes]]:
        """Numbers and texts, without their ends, of the lines that `data` completes."""
        if self._nuls or b"\0" in data:
            data = self._without_nuls(data)
        if self._is_cut:
            ends = [i for i in (data.find(b"\n"), data.find(b"\r")) if i >= 0]
            if not ends:
                return (), []
            data, self._is_cut = data[min(ends) :], False
        if self._rest:
            data = self._rest + data
        numbers: Sequence[int]
        if b"\r" in data:
            numbers, lines = self._split_at_returns(data)
        else:
            lines = data.split(b"\n")
            self._keep(lines.pop())
            numbers = range(self._number, self._number + len(lines))
            self._number += len(lines)
        if len(data) > MAX_LINE and max(map(len, lines), default=0) > MAX_LINE:
            lines = [self._shortened(line) for line in lines]
        if b"\x1b" in data or not data.isascii():
            lines = [self._cleaned(n, line) for n, line in zip(numbers, lines, strict=True)]
        return numbers, lines

    def end(self) -> tuple[Sequence[int], list[bytes]]:
        """The unfinished line, if there is one."""
        self._nuls = b""
        return self.feed(b"\n") if self._rest else ((), [])

    def state(self) -> dict[str, Any]:
        return {
            "rest": self._rest.decode("latin-1"),
            "number": self._number,
            "is_cut": self._is_cut,
            "nuls": len(self._nuls),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._rest = state["rest"].encode("latin-1")
        self._number = state["number"]
        self._is_cut = state["is_cut"]
        self._nuls = b"\0" * state["nuls"]

    def _split_at_returns(self, data: bytes) -> tuple[list[int], list[bytes]]:
        numbers: list[int] = []
        lines: list[bytes] = []
        held = b""
        if data.endswith(b"\r"):  # an LF may follow in the next read
            data, held = data[:-1], b"\r"
        physical = data.split(b"\n")
        last = physical.pop()
        for whole in physical:
            for piece in whole.split(b"\r"):
                if piece:
                    numbers.append(self._number)
                    lines.append(piece)
            self._number += 1
        *pieces, rest = last.split(b"\r")
        lines += filter(None, pieces)
        numbers += [self._number] * (len(lines) - len(numbers))
        self._keep(rest)
        if held:
            self._rest += held
            self._is_cut = False
        return numbers, lines

    def _keep(self, rest: bytes) -> None:
        self._is_cut = len(rest) > MAX_LINE
        self._rest = self._shortened(rest)

    def _shortened(self, line: bytes) -> bytes:
        if len(line) <= MAX_LINE:
            return line
        self._counts.error("line_too_long")
        return line[:MAX_LINE]

    def _cleaned(self, number: int, line: bytes) -> bytes:
        if number == 1 and line.startswith(_BOMS):
            line = line[3:] if line.startswith(_BOMS[0]) else line[2:]
        if b"\x1b" in line:
            line = _ESCAPE.sub(b"", line)
        if line.isascii():
            return line
        try:
            line.decode()
        except UnicodeDecodeError:
            self._counts.error("not_utf8")
            line = line.decode("utf-8", "replace").encode()
        return line

    def _without_nuls(self, data: bytes) -> bytes:
        data = self._nuls + data
        text = data.rstrip(b"\0")
        self._nuls = b"\0" * min(2, len(data) - len(text))
        text, holes = _HOLE.subn(b"\r", text)
        if holes:
            self._counts.error("nul_hole", holes)
        return text.replace(b"\0", b"")
