"""Which format a log has, when it changes, and what is never taken for a step."""

from __future__ import annotations

import pytest

from decoding import assert_split_makes_no_difference, decode
from training_monitor.parse.registry import open_decoder
from training_monitor.records import Facts, Record, Start, Step

NANOCHAT = (
    "step {0:05d}/01600 (1.00%) | loss: 5.0 | lrm: 1.00 | dt: 245.34ms | tok/sec: 4,173 | bf16_mfu: 40.00 | epoch: 1 | "
    "total time: 2.44m\n"
)
SFT = (
    "step {0:05d} (1.00%) | loss: 3.0 | lrm: 1.00 | dt: 280.49ms | tok/sec: 3,650 | mfu: 0.00 | epoch: 1 | "
    "total time: 0.00m\n"
)
GENERIC = "step {0}/100 | loss: 3.5 | lr: 0.001\n"
MEGATRON_HEADER = "using world size: 16, data-parallel-size: 1, tensor-model-parallel size: 4\n"
MEGATRON = "iteration {0}/ 100 | elapsed time per iteration (ms): 1376.1 | lm loss: 2.2E+01 | grad norm: 16.999 |\n"


def read(text: str) -> tuple[list[Record], str | None, dict[str, int]]:
    records = assert_split_makes_no_difference(lambda: open_decoder(b""), text.encode(), tries=2)
    decoder = open_decoder(b"")
    decode(decoder, text.encode())
    return records, decoder.format, decoder.counts.errors


def steps(text: str) -> list[int]:
    return [r.step for r in read(text)[0] if type(r) is Step]


def formats(text: str) -> list[str]:
    return [r.format for r in read(text)[0] if type(r) is Facts and r.format]


def lines(template: str, *numbers: int) -> str:
    return "".join(template.format(n) for n in numbers)


def test_a_log_may_change_its_trainer_in_the_middle() -> None:
    text = lines(NANOCHAT, 1, 2) + lines(SFT, 1, 2) + lines(MEGATRON, 1, 2)
    assert steps(text) == [1, 2, 1, 2, 1, 2]
    assert formats(text) == ["nanochat", "nanochat-sft", "megatron"]


def test_generic_lines_never_take_over_from_a_trainers_own() -> None:
    text = lines(NANOCHAT, 1) + lines(GENERIC, 7) + lines(NANOCHAT, 2) + '{"step": 9, "loss": 1.0}\n'
    assert (steps(text), formats(text)) == ([1, 2], ["nanochat"])


def test_a_trainers_own_lines_take_over_from_generic_ones_at_once() -> None:
    text = lines(GENERIC, 7, 8) + lines(NANOCHAT, 1)
    assert (steps(text), formats(text)) == ([7, 8, 1], ["key-value", "nanochat"])


def test_generic_formats_follow_each_other_if_they_know_a_loss() -> None:
    deepspeed = "[Rank 0] step=3, skipped=0, lr=[1e-05], mom=[[0.9, 0.95]]\n"
    text = lines(GENERIC, 1, 2) + deepspeed + '{"step": 4, "loss": 2.0}\n' + lines(GENERIC, 5)
    assert (steps(text), formats(text)) == ([1, 2, 4, 5], ["key-value", "jsonl", "key-value"])


def test_generic_lines_under_the_header_of_a_trainer_wait_until_they_are_believed() -> None:
    assert steps(MEGATRON_HEADER + lines(GENERIC, 1, 2, 3) + lines(MEGATRON, 1, 2)) == [1, 2]
    assert steps(MEGATRON_HEADER + lines(GENERIC, *range(1, 9))) == list(range(1, 9))
    assert steps(MEGATRON_HEADER + lines(GENERIC, 1, 2)) == [1, 2]  # at the end nothing else can come


def test_the_bench_line_of_the_detectors_and_the_users_own_illustration_are_read() -> None:
    bench = "step 1000/30000 | loss: 3.245123 | lr: 0.000100 | dt: 512.34ms | tok/sec: 1,023,400 | mfu: 42.31%\n"
    own = "step 1001 | loss: 3.245 | lr: 0.0001 | mfu: 42.3%\n"
    a, b = (r for r in read(bench + own)[0] if type(r) is Step)
    assert a == Step(
        1000,
        3.245123,
        learning_rate=1e-4,
        mfu_ratio=pytest.approx(0.4231),
        step_time_s=0.51234,
        tokens_per_second=1_023_400,
        total_steps=30_000,
        line=1,
    )
    assert b == Step(1001, 3.245, learning_rate=1e-4, mfu_ratio=pytest.approx(0.423), line=2)


@pytest.mark.parametrize(
    ("line", "step", "loss"),
    [
        ("Epoch 3 | Step 120 | Loss: 2.5 | LR: 1e-4", 120, 2.5),
        ("iter 10: loss 3.2, time 30.00ms", 10, 3.2),
        ("[train] step=12 loss=2.25 lr=1e-4", 12, 2.25),
        ("step: 5, train_loss: 2.75", 5, 2.75),
        ("global_step=3.2e+4 train/loss=2.5", 32_000, 2.5),
        ("2026-01-01 10:00:00 INFO step 7 loss 1.5 grad_norm 0.3", 7, 1.5),
        (
            "Epoch 0:   6%|██ | 32040/500150 [6:28:43<94:39:17,  1.37it/s, loss=2.6, v_num=95nc, global_step=32040]",
            32_040,
            2.6,
        ),
        ("Epoch 2:   6%|██ | 40/500 [6:28:43<94:39:17,  1.37it/s, v_num=0, train_loss_step=3.21]", 1040, 3.21),
        (
            "step 00123 (1.2%) | loss: 3.5 | lrm: 1.00 | dt: 250ms | tok/sec: 4,096 | epoch: 1 | remaining: 12s",
            123,
            3.5,
        ),
        ("Training:   5%|▌  | 274/5000 [03:03<51:59,  1.51it/s, loss=10.1601, lr=5.49e-04]", 274, 10.1601),
    ],
)
def test_hand_written_lines_are_read(line: str, step: int, loss: float) -> None:
    assert [(r.step, r.loss) for r in read(line + "\n")[0] if type(r) is Step] == [(step, loss)]


@pytest.mark.parametrize(
    "text",
    [
        'print0(f"step {step:05d}/{n:05d} ({pct:.2f}%) | loss: {loss:.6f} | lrm: {lrm:.2f} | dt: {dt:.2f}ms")',
        "for step in range(100): loss = 0.0",
        "optimizer step 100 done",
        "Saved model at step 1600 with some loss of precision",
        "|   0  NVIDIA H100 80GB HBM3          On  | 00000000:61:00.0 Off |                    0 |",
        "tensor([[ 1.2, 3.4], [5.6, 7.8]], step=3)",
        "validate step: 10  loss: nothing yet",
        "loss: 3.5 | lr: 0.1",
        'print0("config: train_steps=3125 beta1=0.95 shampoo_beta=0.9 lr=0.018 step=1", console=True)',
        "max_steps: 1000, learning_rate: 0.1",
        "{'config': {'step': 1, 'loss': 'mse'}}",
        '{"vocab_size": 4096, "n_layer": 4}',
    ],
)
def test_what_is_no_step_line_gives_no_step(text: str) -> None:
    assert steps(text + "\n") == []


def test_a_step_that_goes_back_on_one_rank_is_a_restart_and_a_slower_rank_is_none() -> None:
    def rank(n: int, *numbers: int) -> str:
        return "".join(f"[default{n}]:{MEGATRON.format(i)}" for i in numbers)

    def starts(text: str) -> int:
        return sum(type(r) is Start for r in read(text)[0])

    assert starts(rank(7, 10, 11, 10, 11, 10)) == 2
    assert starts(rank(0, 10) + rank(1, 9) + rank(0, 11) + rank(1, 10, 10)) == 0


def test_values_that_cannot_be_read_are_counted_and_survived() -> None:
    records, _, errors = read(lines(NANOCHAT, 1) + NANOCHAT.format(2).replace("5.0", "5.0.0") + lines(NANOCHAT, 3))
    assert [r.step for r in records if type(r) is Step] == [1, 3]
    assert errors == {"bad_value": 1}


def test_the_run_id_that_wandb_prints_is_a_fact() -> None:
    local = "\x1b[1;34mwandb\x1b[0m: Run data is saved locally in /home/u/wandb/offline-run-20261122_181659-6xptu6jz\n"
    cloud = "wandb: 🚀 View run at https://wandb.ai/someone/owt/runs/mvtm5kj1\n"
    assert [r.run_id for r in read(local + cloud)[0] if type(r) is Facts] == ["6xptu6jz", "mvtm5kj1"]


def test_lines_read_and_lines_understood_are_counted() -> None:
    decoder = open_decoder(b"")
    decode(decoder, (lines(NANOCHAT, 1, 2) + "\n  \nnoise\n" + lines(NANOCHAT, 3)).encode())
    assert (decoder.counts.lines, decoder.counts.parsed) == (5, 3)
