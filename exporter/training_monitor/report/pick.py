"""Which of several values stands for a run."""

from __future__ import annotations

from training_monitor.records import Scope, Snapshot, Validation

#: Validation metrics in the order in which one of them is chosen as the run's own.
MAIN_METRICS = ("loss", "bits_per_byte")


def main_validation(snapshot: Snapshot) -> Validation | None:
    """The evaluation result that stands for the run: its loss if it has one."""
    for metric in (*MAIN_METRICS, *snapshot.validations):
        if metric in snapshot.validations:
            return snapshot.validations[metric]
    return None


def throughput(snapshot: Snapshot) -> tuple[float | None, Scope | None]:
    """Tokens per second of the whole job where the number of devices is known, else as the log says."""
    tokens, devices = snapshot.tokens_per_second, snapshot.facts.world_size
    if tokens is not None and snapshot.tokens_scope == "device" and devices:
        return tokens * devices, "global"
    return tokens, snapshot.tokens_scope
