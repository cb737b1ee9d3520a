"""Which names in a folder are logs, and which folders are not worth entering. A path given by name is always a log."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

#: Name in a folder → kind of source; the first that matches decides, a name that matches nothing is not a log. Text and
#: JSON lines are data sets more often than logs, so these names must say what they are.
LOG_NAMES: tuple[tuple[str, str], ...] = (
    (r".+\.wandb", "wandb"),
    (r"events\..*tfevents\..+", "tfevents"),
    (r"mlflow\.db|(.*[-_.])?trackio\.db", "sqlite"),
    (r"trainer_state.*\.json", "file"),
    (r"(.*[-_.])?metrics\.csv", "file"),
    (r".*(log|console|stdout|stderr|output|metrics|slurm).*\.txt", "file"),
    (r".*(log|metrics|history|progress|stats).*\.jsonl", "file"),
    (r"(?!a\.out$).*\.(log|out|err)", "file"),
)
#: The same in words, for messages.
NAMES_IN_WORDS = "*.log, *.out, *.err, *log*.txt, *log*.jsonl, *.wandb, *tfevents*, *metrics.csv, trainer_state.json"

_LOG = re.compile(
    "|".join(f"(?P<k{i}>{pattern})" for i, (pattern, _) in enumerate(LOG_NAMES)), re.IGNORECASE | re.DOTALL
)
_ENDINGS = ("wandb", "db", "json", "csv", "txt", "jsonl", "log", "out", "err")  # quick refusal of what cannot match

#: A W&B run's own folder: its console copy and debug logs tell nothing that the .wandb file does not.
_WANDB_RUN = re.compile(r"(offline-)?run-\d{8}_\d{6}-.+")

_ROTATED = re.compile(r"(.+?)(\.\d{1,4}|[-._]\d{4}-?\d{2}-?\d{2}[-_T:.\d]*?)(\.gz)?", re.DOTALL)

#: Folders of tools, environments and weights. Hidden folders are left out too, but for `.wandb`.
_DULL_FOLDER = re.compile(
    r"\.(?!wandb$).*|__pycache__|node_modules|site-packages|venv|env|.*\.(egg|dist)-info"
    r"|(.*[-_])?(checkpoints?|ckpts?)([-_]?\d+)?|global_step\d+|.*\.ckpt"
)


def kind_by_name(name: str) -> str | None:
    """The kind of source that a file of this name in a folder is; None: it is not a log."""
    if not name.lower().endswith(_ENDINGS) and "tfevents" not in name:
        return None
    match = _LOG.fullmatch(name)
    if match is None:
        return None
    return next(kind for i, (_, kind) in enumerate(LOG_NAMES) if match[f"k{i}"] is not None)


def kind_of_named(path: str) -> str:
    """The kind of source of a file that the user asked for by name, whatever the name."""
    name = os.path.basename(path)
    return kind_by_name(name) or ("sqlite" if name.endswith((".db", ".sqlite", ".sqlite3")) else "file")


def is_specific(pattern: str) -> bool:
    """Whether a name with wildcards says more than that there is a name."""
    return any(c.isalnum() for c in re.sub(r"\[.*?\]", "", pattern))


def matches(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether the parts of a path match these patterns one by one; `**` stands for any number of parts."""
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(matches(parts[n:], patterns[1:]) for n in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], patterns[0]) and matches(parts[1:], patterns[1:])


def rotated_from(path: str) -> str | None:
    """The log of which `path` is an older part by its name (`train.log.2.gz`), if it is one."""
    match = _ROTATED.fullmatch(path)
    return match and match[1]


def is_wandb_run(folder: str) -> bool:
    """Whether a folder of this name belongs to one W&B run."""
    return _WANDB_RUN.fullmatch(folder) is not None


def is_wandb(folder: str) -> bool:
    """Whether a folder of this name holds what W&B writes."""
    return folder in ("wandb", ".wandb") or is_wandb_run(folder)


def is_dull(folder: str) -> bool:
    """Whether a folder of this name is not entered."""
    return _DULL_FOLDER.fullmatch(folder) is not None
