"""Changes real inputs so that they are almost right."""

from __future__ import annotations

import random
import re

#: Pieces that parsers stumble over.
PIECES = (
    *(
        b"nan",
        b"-inf",
        b"1e999",
        b"9" * 40,
        b"-1",
        b"0",
        b"1,",
        b"1e",
        b"\xff",
        b"\0",
        b"\0\0\0",
        b"\r",
        b"\n",
        b"\r\n",
    ),
    *(b"\x1b[", b"\x1b]", b"'", b'"', b"{", b"}", b"[", b"]", b"[[[[", b"|", b": ", b"=", b"&a ", b"*a", b"!!python/x"),
    *(b"Traceback (most recent call last):\n", b"ValueError: x\n", b"[rank0]: ", b"2026-01-01T00:00:00Z ", b"\t", b"%"),
    *(b"9999-99-99", b"\xed\xa0\x80", "٣".encode(), "²".encode(), b"\x80" * 11, b"\x7f\xff\xff\xff"),
)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """`data` with one to eight changes: cut, doubled, exchanged, a piece put in, a number made strange."""
    for _ in range(chance.randint(1, 8)):
        a, b = sorted((chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)))
        b = min(b, a + chance.choice((1, 4, 40, 4000)))
        part = chance.choice(
            (b"", data[a:b] * 2, chance.choice(PIECES), chance.randbytes(b - a), _number(data, chance))
        )
        data = data[:a] + part + data[b:]
    return data


def _number(data: bytes, chance: random.Random) -> bytes:
    """Another number out of the same data."""
    numbers = re.findall(rb"\d[\d.e+-]*", data[:2000])
    return chance.choice(numbers) if numbers else b"0"
