"""What can be read, as a list in the terminal and as docs/log-formats.md; both come from the registries."""

from __future__ import annotations

import textwrap
from typing import Any

from training_monitor.parse.aliases import TABLE
from training_monitor.parse.files import FILES
from training_monitor.parse.registry import FORMATS
from training_monitor.parse.user_regex import UserRegex


def text() -> str:
    """Each format with what it reads and a real line."""
    blocks = []
    for name, known in _all().items():
        lines = [f"{name}: {known.title}"]
        lines += textwrap.wrap(f"reads {_words(known.reads)}", 100, initial_indent="    ", subsequent_indent="    ")
        lines += [f"    {line}" for line in _example(known)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def markdown() -> str:
    """A section for each format."""
    return "\n".join(line for name, known in _all().items() for line in _section(name, known))


def _section(name: str, known: Any) -> list[str]:
    lines = [f"### `{name}`: {known.title}", "", "```text", *_example(known), "```", ""]
    facts = {
        "reads": known.reads,
        "units": getattr(known, "units", ""),
        "loss": getattr(known, "loss_kind", None) or "",
        "smoothed": known.smoothed,
        "tokens per second": {"global": "of the whole job", "device": "of one device"}.get(
            getattr(known, "tokens_scope", None) or "", ""
        ),
        "source": known.versions,
        "limits": known.limits,
    }
    lines += [f"- **{what}**: {_words(value)}" for what, value in facts.items() if value]
    return [*lines, ""]


def _all() -> dict[str, Any]:
    return {**FORMATS, **FILES, UserRegex.name: UserRegex}


def _example(known: Any) -> list[str]:
    return [line for line in str(known.example).splitlines() if line]


def _words(value: str) -> str:
    return " ".join(value.split())


def aliases() -> str:
    """The names under which fields are known in files that carry names."""
    rows = ["| field | names | scale or scope |", "|---|---|---|"]
    for entry in TABLE:
        notes = [f"× {entry.scale:g}" if entry.scale != 1 else "", entry.scope or "", entry.guess or ""]
        names = ", ".join(f"`{name.strip()}`" for name in entry.names.split(", "))
        rows.append(f"| `{entry.field}` | {names} | {' '.join(n for n in notes if n)} |")
    return "\n".join(rows)
