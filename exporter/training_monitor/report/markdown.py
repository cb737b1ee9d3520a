"""The report as Markdown, for an issue, a chat or a notebook."""

from __future__ import annotations

import re

from training_monitor.records import Snapshot
from training_monitor.report.sections import Section, sections
from training_monitor.report.terminal import clean

#: What CommonMark 0.31 takes as markup: anywhere, and at the start of a line. Underscores inside words are none.
_MARKUP = re.compile(r"[\\`*\[\]<>|~$&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LEADING = re.compile(r"^(\s*\d*)([.)#+=-])(?=\s|[#+=-])")


def markdown_report(snapshot: Snapshot) -> str:
    """The report as Markdown text, without a newline at its end."""
    kind = f" ({escaped(snapshot.facts.format)})" if snapshot.facts.format else ""
    parts = [f"# Training report: {escaped(snapshot.run)}", f"Source: {escaped(snapshot.source)}{kind}"]
    for section in sections(snapshot):
        parts.append(f"## {section.title}\n\n{_body(section)}")
    return "\n\n".join(parts)


def escaped(text: str) -> str:
    """`text` as Markdown that shows exactly it."""
    return _LEADING.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", clean(text)))


def _body(section: Section) -> str:
    return _list(section) if section.is_list else _table(section)


def _table(section: Section) -> str:
    """A list of labelled facts; what has no label belongs to the one above."""
    return "\n".join(
        f"- **{line.label}**: {escaped(line.text)}" if line.label else f"  - {escaped(line.text)}"
        for line in section.lines
    )


def _list(section: Section) -> str:
    out: list[str] = []
    for line in section.lines:
        if line.label:
            out += [""] * bool(out) + [f"**{escaped(line.label)}.** {escaped(line.text)}", ""]
        else:
            out.append(f"- {escaped(line.text)}")
    return "\n".join(out)
