import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_monitor.parse import aliases
from training_monitor.parse.aliases import FACTS, METRICS, NAMESPACES, TABLE, fact_of, field_of, normalised
from training_monitor.records import Facts, Step


@pytest.mark.parametrize(
    ("name", "field", "scale"),
    [
        # HF Trainer, and its W&B and TensorBoard callbacks
        ("loss", "loss", 1),
        ("train/loss", "loss", 1),
        ("train/grad_norm", "grad_norm", 1),
        ("train/global_step", "step", 1),
        ("num_input_tokens_seen", "tokens_total", 1),
        ("train_tokens_per_second", "tokens_per_second", 1),
        ("eval_loss", "validation:loss", 1),
        ("eval_math_loss", "validation:math_loss", 1),
        # nanochat
        ("train/lrm", "lr_multiplier", 1),
        ("train/dt", "step_time_s", 1),
        ("train/tok_per_sec", "tokens_per_second", 1),
        ("val/bpb", "validation:bits_per_byte", 1),
        ("core_metric", "validation:core", 1),
        # Lightning
        ("trainer/global_step", "step", 1),
        ("train_loss_step", "loss", 1),
        ("lr-AdamW/pg1", "learning_rate", 1),
        ("val_loss/dataloader_idx_0", "validation:loss", 1),
        # torchtitan, OLMo-core, composer, MaxText, lingua, Megatron, LLaMA-Factory
        ("loss_metrics/global_avg_loss", "loss", 1),
        ("mfu(%)", "mfu_ratio", 0.01),
        ("throughput(tps)", "tokens_per_second", 1),
        ("optim/LR (group 0)", "learning_rate", 1),
        ("optim/total grad norm", "grad_norm", 1),
        ("throughput/device/MFU", "mfu_ratio", 0.01),
        ("throughput/device/mfu", "mfu_ratio", 1),
        ("train/CE loss", "loss", 1),
        ("loss/train/total", "loss", 1),
        ("throughput/device/flops_per_sec", "tflops", 1e-12),
        ("perf/step_time_seconds", "step_time_s", 1),
        ("learning/loss", "loss", 1),
        ("learning/current_learning_rate", "learning_rate", 1),
        ("loss/out", "loss", 1),
        ("lm loss", "loss", 1),
        ("elapsed time per iteration (ms)", "step_time_s", 1e-3),
        ("current_steps", "step", 1),
        ("_step", "step", 1),
        ("_timestamp", "time", 1),
    ],
)
def test_names_of_real_loggers_are_understood(name: str, field: str, scale: float) -> None:
    alias = field_of(name)
    assert alias is not None
    assert (alias.field, alias.scale) == (field, scale)


@pytest.mark.parametrize(
    "name",
    [
        *("train_loss_epoch", "train/train_loss", "train_runtime", "_runtime", "eval_runtime", "test_loss", "aux_loss"),
        *(
            "total_training_time",
            "lr_max",
            "loss_scale",
            "epoch_time",
            "throughput/device/TPS (actual avg)",
            "",
            "/",
            "é",
        ),
        *("loss_metrics/global_max_loss", "eval_samples_per_second", "gpu.0.memory", "system/loss_of_power"),
    ],
)
def test_names_that_only_look_alike_are_left_out(name: str) -> None:
    assert field_of(name) is None


def test_whose_tokens_are_counted_is_told_where_the_name_says_it() -> None:
    scopes = {name: alias.scope for name in SCOPED if (alias := field_of(name))}
    assert scopes == SCOPED


SCOPED = {
    "throughput/tokens_per_sec": "global",
    "throughput/device/tokens_per_sec": "device",
    "tokens_per_second_per_gpu": "device",
    "tok/sec": None,
}


def test_of_several_names_the_trainers_counter_and_the_plainest_loss_win() -> None:
    def ranked(*names: str) -> list[str]:
        return sorted(names, key=lambda name: field_of(name).rank)  # type: ignore[union-attr]

    assert ranked("_step", "iteration", "step", "global_step") == ["global_step", "step", "iteration", "_step"]
    assert ranked("ce_loss", "train_loss", "loss")[0] == "loss"


def test_every_name_of_the_table_means_a_field_that_there_is() -> None:
    for entry in TABLE:
        assert entry.field in Step._fields or entry.field.removeprefix("validation:") in METRICS
        for name in entry.names.split(", "):
            assert field_of(name), name
    assert set(FACTS) <= set(Facts.__dataclass_fields__)


def test_no_name_means_two_things() -> None:
    names = [name for entry in TABLE for name in {normalised(name) for name in entry.names.split(", ")}]
    assert sorted({name for name in names if names.count(name) > 1}) == []


@pytest.mark.parametrize("space", NAMESPACES)
def test_a_namespace_in_front_changes_nothing(space: str) -> None:
    assert field_of(f"{space}/grad_norm") == field_of("grad_norm")


def test_configuration_keys_become_facts() -> None:
    assert {fact_of(n) for n in ("max_steps", "num_iterations", "model/num_parameters", "seq_len")} == {
        "total_steps",
        "parameters",
        "sequence_length",
    }
    assert fact_of("learning_rate") is None


@given(st.text(max_size=400))
def test_any_name_has_an_answer(name: str) -> None:
    field_of(name)
    fact_of(name)


def test_the_examples_in_the_docs_are_right() -> None:
    assert doctest.testmod(aliases).failed == 0
