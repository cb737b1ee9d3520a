"""One table of metric names: what loggers call a thing → our field, in base units.

Every source that carries names instead of a format of its own (JSONL, CSV, W&B, TensorBoard, Trackio, MLflow) looks its
names up here, so that a name means the same everywhere. `parse.rows` turns whole rows into records with it.

Names are compared after `normalised`: `train/loss`, `train_loss`, `Train Loss` and `train.loss` are one name. A leading
namespace (`train/`, `perf/`, `optim/`, …) may be there or not; `val/`, `eval/`, … in front of a known metric make it a
validation metric. Where two names of a row mean the same field, the one that stands earlier in `TABLE` wins.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

from training_monitor.records import Scope

#: The name leaves the unit open: "percent?" is a percentage if a value of the run is above 1.5 (`mfu`); "ms?" is
#: milliseconds if one is above 1000 (`dt`: no step takes 17 minutes).
Guess: TypeAlias = Literal["percent?", "ms?"]


class Alias(NamedTuple):
    """What a name means: `value * scale` is `field` in base units."""

    field: str  # a field of `records.Step`, or `validation:<metric>`
    scale: float = 1.0
    rank: int = 0  # among the names of one field in one row the lowest wins
    scope: Scope | None = None  # of tokens per second, where the name tells
    guess: Guess | None = None


class Entry(NamedTuple):
    """Names as loggers write them, the most telling first, and what they mean."""

    field: str
    names: str  # separated by comma and blank
    scale: float = 1.0
    scope: Scope | None = None
    guess: Guess | None = None


TABLE: tuple[Entry, ...] = (
    # A counter of the trainer before W&B's own row counter `_step`.
    Entry(
        "step",
        "trainer/global_step, global_step, step, current_steps, iteration, iter, num_updates, update, optimizer_step, "
        "training_step, train/steps, steps, time/batch, batch, it, _step",
    ),
    Entry(
        "total_steps",
        "total_steps, max_steps, total_iterations, max_iters, train_iters, num_training_steps",
    ),
    # Loss of one step or of the last few, nats per token. Means over an epoch (`train_loss_epoch`) are left out.
    Entry(
        "loss",
        "loss, train_loss_step, train_loss, lm loss, reduced_train_loss, train/CE loss, loss/train/total, "
        "train/CrossEntropyLoss, loss_metrics/global_avg_loss, loss/out, train_loss_avg, avg_train_loss, ce_loss, "
        "cross_entropy_loss, cross_entropy, nll_loss, total_loss, loss/total, loss_step, loss/train",
    ),
    Entry(
        "learning_rate",
        "learning_rate, lr, lr_group_0, lr/0, lr/group0, learning_rate_group0, LR (group 0), current_learning_rate, "
        "current_lr, lr_step",
    ),
    Entry("lr_multiplier", "lrm, lr_multiplier"),  # nanochat
    Entry(
        "grad_norm",
        "grad_norm, gradient_norm, total_grad_norm, global_grad_norm, gnorm, gradnorm, grad_norm_total, grads/norm, "
        "l2_norm/grad/global, raw_grad_norm, grad_norm_step",
    ),
    # `mfu` alone is a percentage for nanochat and nanoGPT, and a ratio for composer and many own loggers.
    Entry("mfu_ratio", "mfu_ratio"),
    Entry("mfu_ratio", "mfu(%), mfu_percent, mfu_pct", scale=0.01),
    Entry("mfu_ratio", "mfu, device/mfu, model_flops_utilization, model_flop_utilization", guess="percent?"),
    Entry(
        "step_time_s",
        "step_time_s, step_time_seconds, time_per_step_s, seconds_per_step, sec_per_step, step_duration_seconds, "
        "train_step_timing in s, end_to_end(s), time_metrics/end_to_end(s), dt_s",
    ),
    Entry(
        "step_time_s",
        "step_time_ms, time_per_iteration_ms, elapsed_time_per_iteration_ms, elapsed time per iteration (ms), "
        "iter_time_ms, step_ms, time_per_step_ms, ms_per_step, step_duration_ms, dt_ms",
        scale=1e-3,
    ),
    Entry(
        "step_time_s",
        "step_time, iter_time, dt, time_per_step, time_per_iteration, step_duration, iteration-time",
        guess="ms?",
    ),
    # Tokens per second: of the whole job, of one device, or the name does not say.
    Entry(
        "tokens_per_second",
        "global_tokens_per_second, total_tokens_per_second, throughput/tokens_per_sec",
        scope="global",
    ),
    Entry(
        "tokens_per_second",
        "tokens_per_second, tokens_per_sec, tok/sec, tok/s, tok_per_sec, tokens/sec, tokens/s, tokens_per_s, "
        "train_tokens_per_second, token_throughput, wps",
    ),
    Entry(
        "tokens_per_second",
        "tokens_per_second_per_gpu, tokens_per_sec_per_gpu, tokens_per_gpu_per_second, tokens_per_gpu_per_sec, "
        "device/tokens_per_second, device/tokens_per_sec, per_device_tokens_per_sec, Tokens/s/device, "
        "throughput(tps), device/TPS, tps, tgs",
        scope="device",
    ),
    Entry(
        "tokens_total",
        "tokens_total, total_tokens, consumed_tokens, tokens_seen, n_tokens_seen, num_input_tokens_seen, num_tokens, "
        "tokens_consumed, tokens_processed, trained_tokens, time/token",
    ),
    Entry(
        "tflops",
        "tflops, tflops_per_gpu, model_tflops_per_gpu, TFLOP/s/device, per_device_tflops_per_sec, tflops_per_device",
    ),
    Entry("tflops", "throughput/device/flops_per_sec, throughput/device/flopsPS", scale=1e-12),
    Entry("epoch", "epoch, current_epoch, time/epoch"),
    # Time of the row in unix seconds, in milliseconds or as ISO 8601; whoever reads it drops other values.
    Entry("time", "_timestamp, timestamp, wall_time, unix_time, created_at, datetime, ts, time"),
    Entry("validation:core", "core_metric, core"),  # nanochat
    Entry("validation:bits_per_byte", "bpb, bits_per_byte"),
)

#: Names whose meaning hangs on upper and lower case: composer writes a ratio, OLMo-core a percentage.
EXACT: dict[str, Alias] = {
    "throughput/device/mfu": Alias("mfu_ratio"),
    "throughput/device/MFU": Alias("mfu_ratio", 0.01),
}

#: Names that only look like one of the table: HF's mean over the whole run.
EXCLUDED = ("train_train_loss",)

#: May stand in front of any name of the table.
NAMESPACES = (
    *("train", "training", "trainer", "perf", "performance", "optim", "optimizer", "learning", "throughput", "metrics"),
    *("metric", "progress", "timing", "time_metrics", "model", "stats", "log", "speed", "monitoring"),
)

#: In front of one of METRICS: a validation metric.
EVALUATIONS = ("val", "valid", "validation", "eval", "evaluation", "dev")

#: Validation metric → names behind a word of EVALUATIONS. `eval_<set>_loss` of several sets is the metric `<set>_loss`.
METRICS: dict[str, str] = {
    "loss": "loss, ce_loss, lm_loss, cross_entropy_loss, loss_epoch, loss_avg, avg_loss",
    "bits_per_byte": "bpb, bits_per_byte",
    "perplexity": "perplexity, ppl, perplexity_epoch, epoch_perplexity",
    "accuracy": "accuracy, acc, token_accuracy, mean_token_accuracy, accuracy_epoch, acc_epoch",
    "core": "core, core_metric",
}

#: Field of `records.Facts` → names in a run's configuration (W&B config, Trackio configs, MLflow params).
FACTS: dict[str, str] = {
    "total_steps": "total_steps, max_steps, num_iterations, max_iters, train_iters, training_steps, num_training_steps",
    "parameters": "num_params, n_params, num_parameters, model/num_parameters, n_parameters, total_parameters",
    "world_size": "world_size, num_gpus, n_gpus, ddp_world_size, num_devices",
    "tokens_per_step": "total_batch_size, tokens_per_step, global_batch_size_tokens",
    "sequence_length": "sequence_length, seq_length, seq_len, max_seq_len, max_seq_length, block_size, context_length",
}

_SEPARATORS = re.compile(r"[^a-z0-9%]+")
_DATALOADER = re.compile(r"_dataloader_idx_\d+$")
#: Lightning's LearningRateMonitor and composer: `lr-AdamW`, `lr-AdamW/pg1`, `lr-DecoupledAdamW/group0`.
_OPTIMIZER_LR = re.compile(
    r"lr_\w*?(?:adam|sgd|muon|lion|adafactor|lamb|shampoo|soap|sophia|rmsprop|adagrad)\w*|lr_group_?\d+"
)


def normalised(name: str) -> str:
    """`name` in lower case with every run of separators as one `_`: `optim/LR (group 0)` → `optim_lr_group_0`."""
    key = _SEPARATORS.sub("_", name[:200].lower()).strip("_")
    return "_step" if name == "_step" else key


def _index() -> dict[str, Alias]:
    names: dict[str, Alias] = {}
    for place, entry in enumerate(TABLE):
        for n, name in enumerate(entry.names.split(", ")):
            alias = Alias(entry.field, entry.scale, 100 * place + n, entry.scope, entry.guess)
            names.setdefault(normalised(name), alias)
    return names


_NAMES = _index()
_METRIC_NAMES = {normalised(n): metric for metric, names in METRICS.items() for n in names.split(", ")}
_FACT_NAMES = {normalised(n): field for field, names in FACTS.items() for n in names.split(", ")}


@lru_cache(maxsize=4096)
def field_of(name: str) -> Alias | None:
    """What `name` means, or None for a name that no part of the monitor uses.

    >>> field_of("optim/total grad norm").field, field_of("step_time_ms")[:2], field_of("eval_loss").field
    ('grad_norm', ('step_time_s', 0.001), 'validation:loss')
    >>> field_of("train_loss_epoch") is None
    True
    """
    if name in EXACT:
        return EXACT[name]
    key = normalised(name)
    if key in EXCLUDED:
        return None
    return _NAMES.get(key) or _validation(key) or _learning_rate(key) or _without_namespace(key)


def fact_of(name: str) -> str | None:
    """The field of `records.Facts` that a configuration key sets, or None.

    >>> fact_of("model/num_parameters"), fact_of("optimizer")
    ('parameters', None)
    """
    return _FACT_NAMES.get(normalised(name))


def _validation(key: str) -> Alias | None:
    """`val_loss`, `eval/bpb`, composer's `metrics/eval/…` and `loss/val`."""
    key = _DATALOADER.sub("", key).removeprefix("metrics_")
    first, _, rest = key.partition("_")
    if first == "loss" and rest in EVALUATIONS:
        first, rest = rest, first
    if first not in EVALUATIONS:
        return None
    metric = _METRIC_NAMES.get(rest) or (rest if rest.endswith("_loss") else None)
    return Alias(f"validation:{metric}") if metric else None


def _without_namespace(key: str) -> Alias | None:
    for space in NAMESPACES:
        if key.startswith(space + "_"):
            rest = key[len(space) + 1 :]
            return _NAMES.get(rest) or _learning_rate(rest) or _without_namespace(rest)
    return None


def _learning_rate(key: str) -> Alias | None:
    return Alias("learning_rate", rank=99_999) if _OPTIMIZER_LR.fullmatch(key) else None
