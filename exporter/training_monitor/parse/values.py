"""Numbers as trainers print them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
_SUFFIXES = {b"K": 1e3, b"M": 1e6, b"B": 1e9, b"G": 1e9, b"T": 1e12, b"P": 1e15, b"E": 1e18}


def number(text: bytes) -> float:
    """`817,841`, `2.2E+01`, `nan`, `11.5K`, `'1.1e-05'` as a float. Raises ValueError."""
    text = text.strip(b"'\" ").replace(b",", b"")
    scale = _SUFFIXES.get(text[-1:])
    return float(text[:-1]) * scale if scale else float(text)


def integers(texts: Sequence[bytes]) -> list[int]:
    """Each text as an int; a column that does not change is read once. Raises ValueError."""
    if texts.count(texts[0]) == len(texts):
        return [int(texts[0])] * len(texts)
    return list(map(int, texts))


def floats(texts: Sequence[bytes]) -> list[float]:
    """Each text as a float, likewise. Raises ValueError."""
    if texts.count(texts[0]) == len(texts):
        return [float(texts[0])] * len(texts)
    return list(map(float, texts))


class Known(dict[bytes, T]):
    """What `read` made of texts that were seen before: for numbers of so few digits that they come again and again.

    Five times faster than reading. Bounded.
    """

    MOST = 4096

    def __init__(self, read: Callable[[bytes], T]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, text: bytes) -> T:
        value = self._read(text)
        if len(self) >= self.MOST:
            self.clear()
        self[text] = value
        return value

    def column(self, texts: Sequence[bytes]) -> list[T]:
        """What each text says. Raises what `read` raises."""
        return list(map(self.__getitem__, texts))


def optional(texts: Sequence[bytes | None]) -> Sequence[float | None]:
    """Each text as a float, None where there is none. Raises ValueError."""
    missing = texts.count(None)
    if missing == len(texts):
        return [None] * missing
    return floats(texts) if not missing else [None if t is None else float(t) for t in texts]  # type: ignore[arg-type]


def grouped(texts: Sequence[bytes]) -> list[float]:
    """The same with commas between the thousands: `817,841`. Raises ValueError."""
    return list(map(float, b" ".join(texts).replace(b",", b"").split(b" ")))


def integer(text: bytes) -> int:
    """`1,600` as an int. Raises ValueError."""
    return int(text.replace(b",", b""))


def percent(text: bytes) -> float | None:
    """`42.3%` or `42.3` as a ratio; None for the placeholders of trainers: 0.00, -100.00, N/A."""
    try:
        value = float(text.rstrip(b"%"))
    except ValueError:
        return None
    return value / 100 if value > 0 else None


def clock(text: bytes) -> float:
    """`27.3`, `52:46`, `1:55:26` or `9 days, 21:39:23` in seconds. Raises ValueError."""
    days, _, rest = text.rpartition(b", ")
    seconds = float(days.split()[0]) * 86_400 if days else 0.0
    part = 0.0
    for piece in rest.split(b":"):
        part = part * 60 + float(piece)
    return seconds + part


def fields(line: bytes, sign: bytes = b":") -> dict[bytes, bytes]:
    """`a b: 1 | c: 2 |` as {b"a b": b"1", b"c": b"2"}; what has no sign is left out."""
    found = {}
    for part in line.split(b"|"):
        key, has_sign, value = part.partition(sign)
        if has_sign:
            found[key.strip()] = value.strip()
    return found


def first(found: dict[bytes, bytes], *keys: bytes) -> float | None:
    """The number of the first of `keys` that is there; None if it cannot be read, as where a line is cut off."""
    for key in keys:
        if key in found:
            try:
                return number(found[key])
            except ValueError:
                return None
    return None
