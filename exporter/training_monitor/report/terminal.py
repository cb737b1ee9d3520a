"""Text that is safe on a terminal: log text without control characters, colours only where they are wanted."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Literal, TypeAlias

Tone: TypeAlias = Literal["plain", "title", "good", "warning", "critical", "dim"]

_CODES: dict[Tone, str] = {"plain": "", "title": "1", "good": "32", "warning": "33", "critical": "1;31", "dim": "2"}


def clean(text: str) -> str:
    r"""`text` on one line with every character that is not plainly visible shown as its escape.

    Controls, line separators, marks that turn the direction of text around, invisible ones and lone surrogates: with
    them a log line could move the cursor, recolour the terminal or pretend to say something else.

    >>> clean("loss \x1b[31mnan\n")
    'loss \\x1b[31mnan\\n'
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def clean_json(text: str) -> str:
    r"""JSON text, which means the same, with everything that `clean` would escape written as JSON's own escape.

    >>> clean_json('{"run": "\x9b31m"}')
    '{"run": "\\u009b31m"}'
    """
    return "".join(c if c.isprintable() or c == "\n" else _json_escape(c) for c in text)


def _json_escape(c: str) -> str:
    return "\\u007f" if c == "\x7f" else json.dumps(c)[1:-1]  # DEL is ASCII, which json leaves as it is


_ASCII = str.maketrans({"−": "-", "±": "+/-", "×": "x", "…": "...", "•": "-"})


def ascii_only(text: str) -> str:
    """`text` for an output that knows nothing but ASCII."""
    return text.translate(_ASCII).encode("ascii", "replace").decode("ascii")


@dataclass(frozen=True, slots=True)
class Style:
    """How to paint: with colours, with more than ASCII, and how wide."""

    colour: bool = False
    unicode: bool = True
    width: int = 100

    def paint(self, text: str, tone: Tone) -> str:
        """`text` in the colour of `tone`."""
        code = _CODES[tone]
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code else text


def style_of(stream: IO[str], env: Mapping[str, str] | None = None) -> Style:
    """What `stream` can show: colours on a terminal unless NO_COLOR (no-color.org) or TERM=dumb forbids them."""
    env = os.environ if env is None else env
    is_terminal = stream.isatty()
    colour = is_terminal and not env.get("NO_COLOR") and env.get("TERM") != "dumb"
    encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "")
    width = _width(stream) if is_terminal else 100
    return Style(colour, encoding.startswith("utf"), width)


def _width(stream: IO[str]) -> int:
    try:
        return max(40, min(140, os.get_terminal_size(stream.fileno()).columns))
    except (OSError, ValueError):
        return 100
