"""Where W&B writes its runs. `~/.cache/wandb`, which many look into, holds caches and never a run.

Source: wandb 0.31.0 (folders of `wandb.init`), and its writer process, which keeps the run's file open.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress

_STARTED = re.compile(r"/(?:offline-)?run-(\d{8}_\d{6})-[^/]+/[^/]+\.wandb$")
_WRITERS = ("wandb-core", "wandb-service")  # process names since 0.18, before it


def places(env: Mapping[str, str], cwd: str) -> dict[str, str]:
    """Folders that may hold run folders → how to call them to a user, the likeliest first."""
    roots = {cwd: ".", env.get("TMPDIR") or "/tmp": env.get("TMPDIR") or "/tmp"}  # noqa: S108  wandb's own fallback
    if configured := env.get("WANDB_DIR"):
        roots = {os.path.join(cwd, configured): "$WANDB_DIR", **roots}
    return {os.path.join(root, name): f"{said}/{name}" for root, said in roots.items() for name in ("wandb", ".wandb")}


def started(path: str) -> str:
    """When the run of this file began, as its folder's name says (`20261122_181120`); empty if it does not."""
    match = _STARTED.search(path)
    return match[1] if match else ""


def is_cache(path: str, env: Mapping[str, str]) -> bool:
    """Whether `path` is, or lies in, W&B's cache folder."""
    home = env.get("HOME", "")
    caches = {
        env.get("WANDB_CACHE_DIR", ""),
        os.path.join(env.get("XDG_CACHE_HOME") or os.path.join(home, ".cache"), "wandb"),
    }
    inside = os.path.normpath(path) + "/"
    return any(cache and inside.startswith(os.path.normpath(cache) + "/") for cache in caches)


def being_written(proc: str = "/proc") -> Iterator[str]:
    """The `.wandb` files that a writer process of this machine, visible to this user, has open. Linux only."""
    with suppress(OSError):
        for pid in filter(str.isdigit, os.listdir(proc)):
            with suppress(OSError):  # gone, or another user's
                if _first_line(f"{proc}/{pid}/comm").startswith(_WRITERS):
                    yield from _open_runs(f"{proc}/{pid}/fd")


def _open_runs(fds: str) -> Iterator[str]:
    for fd in os.listdir(fds):
        with suppress(OSError):
            target = os.readlink(f"{fds}/{fd}")
            if target.endswith(".wandb"):
                yield target


def _first_line(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.readline()
