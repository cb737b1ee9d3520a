"""All that a `.wandb` file says in its history, to compare with what W&B's own inspector says."""

from __future__ import annotations

import math

from training_monitor.parse import protobuf, wandb_messages
from training_monitor.parse.base import Counts
from training_monitor.parse.wandb_blocks import Blocks


def history_rows(data: bytes) -> list[dict]:
    """All items of all history rows, NaN and infinities as the words that JSON has not."""
    words = {math.inf: "Infinity", -math.inf: "-Infinity"}
    rows = []
    for record in Blocks(Counts()).feed(data):
        for number, _, start, end in protobuf.fields(record):
            if number == wandb_messages.HISTORY:
                row = wandb_messages.history_row(record, start, end)
                rows.append(
                    {k: "NaN" if isinstance(v, float) and math.isnan(v) else words.get(v, v) for k, v in row.items()}
                )
    return rows
