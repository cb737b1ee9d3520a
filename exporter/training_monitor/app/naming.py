"""What a run is called, from its path alone, so that the name is the same after every restart."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Sequence

from training_monitor.config import NameRule

#: `run-20261122_181120-zidy7otb/run-zidy7otb.wandb`, also with `offline-`.
_WANDB = re.compile(r"(?:offline-)?run-\d{8}_\d{6}-(?P<id>[^/]+)(?:/|$)")
_SUFFIX = re.compile(r"(\.(log|out|err|txt|jsonl|json|csv|db|wandb))+$")


def run_name(path: str, watched: Sequence[str], rules: Sequence[NameRule] = ()) -> str:
    """Name of the run whose log is `path`.

    The first matching rule decides; else a W&B run's id, the path below the watched folder without its ending, or the
    file's stem.
    """
    path = os.path.abspath(path)
    for rule in rules:
        if m := rule.match.search(path):
            return rule.name.format(**{k: v or "" for k, v in m.groupdict().items()})
    if m := _WANDB.search(path):
        return m["id"]
    roots = [root for w in watched if path.startswith((root := _folder(w)).rstrip("/") + "/")]
    inside = os.path.relpath(path, max(roots, key=len)) if roots else os.path.basename(path)
    return _SUFFIX.sub("", inside) or inside


def _folder(watched: str) -> str:
    """The folder that a watched path, or the fixed part of a glob, stands for."""
    fixed = re.split(r"[*?\[]", watched, maxsplit=1)[0]
    path = os.path.abspath(fixed or ".")
    is_folder = os.path.isdir(path) if fixed == watched else not fixed or fixed.endswith("/")
    return path if is_folder else os.path.dirname(path)


def unique(name: str, path: str, taken: Container[str]) -> str:
    """`name`, with as many parent folders before it as it takes to be different from all `taken` names."""
    parents = os.path.dirname(os.path.abspath(path)).strip("/").split("/")
    candidate = name
    while candidate in taken and parents:
        candidate = f"{parents.pop()}/{candidate}"
    number = 2
    while candidate in taken:
        candidate, number = f"{name}#{number}", number + 1
    return candidate
