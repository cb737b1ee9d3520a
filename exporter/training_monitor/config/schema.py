"""The keys of the configuration: what each accepts and what it is for. Nothing else lists them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, TypeAlias

Checker: TypeAlias = Callable[[Any], Any]  # gives the value to use, or raises ValueError with what is wrong


def number(low: float = -math.inf, *, above: bool = False) -> Checker:
    def check(value: Any) -> float:
        if isinstance(value, str):  # YAML 1.1 reads 9.89e14 as text
            try:
                value = float(value)
            except ValueError:
                raise ValueError(f"{value!r} is not a number") from None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{value!r} is not a number")
        if value < low or (above and value == low):
            raise ValueError(f"{value:g} is not {'above' if above else 'at least'} {low:g}")
        return float(value)

    return check


def integer(low: int) -> Checker:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{value!r} is not a whole number")
        if value < low:
            raise ValueError(f"{value} is not at least {low}")
        return value

    return check


def text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not a text")
    return value


def texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
        raise ValueError(f"{value!r} is not a list of texts")
    return tuple(value)


LONGEST_S = 100 * 365 * 86_400  # of a duration
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(value: Any) -> float:
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,12})?)\s*([smhd]?)", str(value))
    seconds = float(match[1]) * _UNITS[match[2] or "s"] if match else 0.0
    if isinstance(value, bool) or not 0 < seconds <= LONGEST_S:
        raise ValueError(f"{value!r} is not a duration such as 30s, 10m, 24h or 7d")
    return seconds


#: section → key → (check, attribute of RunConfig, what it is). These may also stand in each entry of `runs`.
RUN_SCHEMA: dict[str, dict[str, tuple[Checker, str, str]]] = {
    "hardware": {
        "gpu": (text, "gpu", "name of the GPU, e.g. H100 SXM, where the log does not name it"),
        "gpus": (integer(1), "gpus", "number of devices in the job"),
        "precision": (text, "precision", "bf16 (default) or fp8: which peak the MFU is relative to"),
        "peak_flops": (number(0, above=True), "peak_flops", "FLOP/s of one device, overrides the table"),
        "flops_per_token": (number(0, above=True), "flops_per_token", "training FLOPs per token"),
        "parameters": (number(0, above=True), "parameters", "model parameters"),
    },
    "cost": {
        "usd_per_gpu_hour": (number(0), "usd_per_gpu_hour", "price of one device for one hour"),
        "budget_usd": (number(0, above=True), "budget_usd", "raises over_budget when the estimate exceeds it"),
    },
    "goal": {
        "total_steps": (integer(1), "total_steps", "planned steps, where the log does not say"),
        "target_loss": (number(), "target_loss", "the loss this run should reach"),
    },
    "baseline": {
        "log": (text, "baseline", "log of the run to compare with at the same step"),
        "behind_ratio": (number(1, above=True), "behind_ratio", "loss over the baseline's that counts as behind"),
    },
}

#: section → key → (check, attribute of Config, what it is).
SCHEMA: dict[str, dict[str, tuple[Checker, str, str]]] = {
    "sources": {
        "paths": (texts, "paths", "what to watch when the command line names nothing"),
        "wandb_runs": (texts, "wandb_runs", "runs in the W&B cloud, as entity/project/run or URL"),
        "wandb_poll": (duration, "wandb_poll_s", "time between two polls of the W&B cloud"),
        "format": (text, "format", "name of the log format, instead of detecting it (see `training-monitor formats`)"),
        "regex": (texts, "regex", "own line patterns with named groups (step, loss, lr, …)"),
        "poll": (duration, "poll_s", "time between two looks at a file where the file system sends no notification"),
        "rescan": (duration, "rescan_s", "time between two looks for new files"),
    },
    "state": {
        "dir": (text, "state_dir", "where offsets and detector state are kept"),
        "save_interval": (duration, "save_s", "shortest time between two saves"),
    },
    "series": {
        "expire_after": (duration, "expire_s", "a finished or vanished run is shown for this long"),
    },
}
TOP = (*SCHEMA, *RUN_SCHEMA, "detectors", "names", "runs")


def hint(name: object, known: Sequence[str]) -> str:
    """`, did you mean X?` where something close is known."""
    close = get_close_matches(str(name), known, n=1)
    return f", did you mean {close[0]}?" if close else ""
