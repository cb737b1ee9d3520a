"""What a run is called, from its path alone, so that the name is the same after every restart."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator, Sequence

from training_monitor.config import NameRule

#: `run-20261122_181120-zidy7otb/run-zidy7otb.wandb`, also with `offline-`.
_WANDB = re.compile(r"(?:offline-)?run-\d{8}_\d{6}-(?P<id>[^/]+)(?:/|$)")
_SUFFIX = re.compile(r"(\.(log|out|err|txt|jsonl|json|csv|db|wandb))+$")


class Names:
    """Names the runs found under the watched paths. Touches no file."""

    def __init__(self, watched: Sequence[str], rules: Sequence[NameRule] = ()) -> None:
        self._folders = {_folder(path) for path in watched}
        self._rules = rules

    def of(self, path: str) -> str:
        """The first matching rule decides; else a W&B run's id, the path below the watched folder without its ending,
        or the file's stem.
        """
        is_file = not path.startswith("wandb:")
        path = os.path.abspath(path) if is_file else path
        if (name := self.by_rule(path)) is not None:
            return name
        if not is_file:
            return re.split(r"[?#]", path)[0].rstrip("/").rpartition("/")[2]
        if m := _WANDB.search(path):
            return m["id"]
        root = next((folder for folder in _parents(path) if folder in self._folders), os.path.dirname(path))
        inside = os.path.relpath(path, root)
        return _SUFFIX.sub("", inside) or inside

    def by_rule(self, path: str) -> str | None:
        """The name that the configuration gives to this absolute path or address, if it gives one."""
        for rule in self._rules:
            if m := rule.match.search(path):
                return rule.name.format(**{k: v or "" for k, v in m.groupdict().items()})
        return None


def run_name(path: str, watched: Sequence[str], rules: Sequence[NameRule] = ()) -> str:
    """Name of the run whose log is `path`; see `Names.of`."""
    return Names(watched, rules).of(path)


def _folder(watched: str) -> str:
    """A watched path, or the folder that the fixed part of a glob stands for. A file is no folder of anything."""
    fixed = re.split(r"[*?\[]", watched, maxsplit=1)[0]
    if fixed != watched and not fixed.endswith("/"):
        fixed = os.path.dirname(fixed)
    return os.path.abspath(fixed or ".")


def _parents(path: str) -> Iterator[str]:
    """The folders above `path`, nearest first."""
    while (parent := os.path.dirname(path)) != path:
        yield parent
        path = parent


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
