"""Hostile lines for a pattern: lines that it almost matches, with each part of them repeated again and again.

A backtracking matcher takes long where a repeated part can be matched in several ways and the rest then fails. So from
the pattern itself a text is made that it matches; of each stretch of that text a line is made that repeats it, once
with the rest behind it and once with a byte that fits nothing. Python's own parser of patterns does the reading.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

try:
    from re import _constants as op
    from re import _parser as parser
except ImportError:  # Python 3.10
    import sre_constants as op
    import sre_parse as parser

from training_monitor import parse
from training_monitor.parse.format import Format

PARTS = 14  # stretches of a text are taken between at most so many of its places
FITS_NOTHING = b"\x01"


def attacks(pattern: re.Pattern[bytes], size: int) -> Iterator[bytes]:
    """Lines of `size` bytes, or a few less."""
    for text in {b"".join(parts) for parts in (_text(pattern, 0), _text(pattern, 1))}:
        places = sorted({round(i * len(text) / PARTS) for i in range(PARTS + 1)})
        for i, start in enumerate(places):
            for end in places[i + 1 :]:
                head, pump = text[:start], text[start:end]
                body = head + pump * (size // len(pump) + 1)
                yield body[: size - 1] + FITS_NOTHING
                yield body[: size - len(text)] + text[end:-1]


def _text(pattern: re.Pattern[bytes], more: int) -> list[bytes]:
    """A text that the pattern matches, in pieces; with `more`, repeats are taken more often and later branches."""
    return list(_pieces(parser.parse(pattern.pattern, pattern.flags), more))


def _pieces(tree: Any, more: int) -> Iterator[bytes]:
    for kind, value in tree:
        if kind is op.LITERAL:
            yield bytes([value])
        elif kind is op.NOT_LITERAL:
            yield b"a" if value != ord("a") else b"b"
        elif kind is op.ANY:
            yield b"a"
        elif kind is op.IN:
            yield bytes([_member(value)])
        elif kind is op.BRANCH:
            yield from _pieces(value[1][-1 if more else 0], more)
        elif kind is op.SUBPATTERN:
            yield from _pieces(value[3], more)
        elif kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            low, high, inner = value
            for _ in range(min(high, max(low, 3 if more else 1))):
                yield from _pieces(inner, more)


def _member(choices: Any) -> int:
    """A byte of a class, digits and small letters rather than others."""
    source = "".join(_class_text(kind, value) for kind, value in choices)
    fits = re.compile(f"[{source}]".encode("latin-1"))
    return next(b for b in (*b"1a.: -", *range(32, 256), *range(32)) if fits.match(bytes([b])))


def _class_text(kind: Any, value: Any) -> str:
    if kind is op.NEGATE:
        return "^"
    if kind is op.RANGE:
        return f"\\x{value[0]:02x}-\\x{value[1]:02x}"
    if kind is op.CATEGORY:
        return {op.CATEGORY_DIGIT: "\\d", op.CATEGORY_SPACE: "\\s", op.CATEGORY_WORD: "\\w"}.get(value) or {
            op.CATEGORY_NOT_DIGIT: "\\D",
            op.CATEGORY_NOT_SPACE: "\\S",
            op.CATEGORY_NOT_WORD: "\\W",
        }[value]
    return f"\\x{value:02x}"


class Used(NamedTuple):
    """A pattern of `parse/`, where it stands, and whether it is searched for or only matched at the start."""

    where: str
    pattern: re.Pattern[bytes]
    is_searched: bool


def used_patterns() -> list[Used]:
    """Every pattern that sees what a log says; one for each text and use."""
    found: dict[tuple[bytes, bool], Used] = {}
    for info in pkgutil.iter_modules(parse.__path__):
        module = importlib.import_module(f"{parse.__name__}.{info.name}")
        source = inspect.getsource(module)
        for name, value in vars(module).items():
            is_searched = name == "MARKERS" or re.search(rf"\b{name}\.{_SEARCHES}\b", source) is not None
            for pattern in _inside(value):
                found.setdefault((pattern.pattern, is_searched), Used(info.name, pattern, is_searched))
    return list(found.values())


_SEARCHES = r"(?:search|finditer|findall|split|subn?)"


def _inside(value: Any) -> Iterator[re.Pattern[bytes]]:
    """The patterns of bytes that a module's value is, holds, or has as a table."""
    if isinstance(value, re.Pattern) and isinstance(value.pattern, bytes):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _inside(part)
    elif isinstance(value, type) and issubclass(value, Format):
        for attribute in (value.step_line, value.steps, value.table):
            yield from _inside(attribute)
