"""nanochat's history of step lines, and the step's own loss behind the average that they print."""

from __future__ import annotations

import math
import random
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding import decode
from training_monitor.parse.format import Format
from training_monitor.parse.nanochat import Nanochat
from training_monitor.parse.registry import open_decoder
from training_monitor.records import Facts, Finish, Pause, Record, Start, Step, Steps, Validation, steps_in

FIRST = "step 00000/01600 (0.00%) | loss: 8.317807 | "
SPEED = "lrm: 1.00 | dt: 660.18ms | tok/sec: 794,157 | "
VARIANTS = {
    "2025-10": SPEED + "mfu: 49.64 | total time: 0.00m",
    "2025-11 with grad norm": "grad norm: 0.4321 | " + SPEED + "mfu: 49.64 | total time: 1.20m",
    "2026-01-05 with eta": SPEED + "mfu: 49.64 | total time: 89.71m | eta: 89.9m",
    "2026-01-13 with epoch": SPEED + "mfu: 49.64 | epoch: 2 | total time: 89.71m | eta: 1.0m",
    "2026-02-10 with bf16_mfu": SPEED + "bf16_mfu: 49.64 | epoch: 2 | total time: 89.71m",
    "2026-03-04 with pq and rg": SPEED + "bf16_mfu: 49.64 | epoch: 2 pq: 3 rg: 17 | total time: 1.0m",
}
DATA = Path(__file__).parents[1] / "data" / "nanochat"


def read(text: str) -> list[Record]:
    return decode(open_decoder(b""), text.encode())


def of(kind: type, records: list[Record]) -> list:
    return [r for r in records if type(r) is kind]


def base_line(step: int, shown: str, total: int = 9999) -> str:
    return (
        f"step {step:05d}/{total:05d} ({100 * step / total:.2f}%) | loss: {shown} | lrm: 1.00 | dt: 250.00ms | "
        "tok/sec: 4,096 | bf16_mfu: 0.00 | epoch: 1 pq: 0 rg: 3 | total time: 0.00m\n"
    )


def sft_line(step: int, shown: str) -> str:
    return (
        f"step {step:05d} (1.00%) | loss: {shown} | lrm: 1.00 | dt: 250.00ms | tok/sec: 4,096 | mfu: 0.00 | epoch: 1 | "
        "total time: 0.00m\n"
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_line_of_its_history_is_read(variant: str) -> None:
    (step,) = of(Step, read(FIRST + VARIANTS[variant] + "\n"))
    assert (step.step, step.total_steps, step.loss, step.raw_loss) == (0, 1600, 8.317807, 8.317807)
    assert (step.lr_multiplier, step.learning_rate, step.step_time_s) == (1.0, None, 0.66018)
    assert (step.tokens_per_second, step.mfu_ratio) == (794_157.0, pytest.approx(0.4964))
    assert step.grad_norm == (0.4321 if "grad" in variant else None)
    assert step.epoch == (2.0 if "epoch" in VARIANTS[variant] else None)


def averaged(losses: list[float], shown_from: int) -> list[str]:
    """What nanochat prints: the average with β 0.9, divided by 1 - β^(step+1), with six decimals."""
    average, shown = 0.0, []
    for step, loss in enumerate(losses, start=shown_from):
        average = 0.9 * average + 0.1 * loss
        shown.append(f"{average / (1 - 0.9 ** (step + 1)):.6f}")
    return shown


@pytest.mark.parametrize(("line", "first"), [(base_line, 0), (sft_line, 1)])
def test_the_steps_own_loss_comes_back_to_a_few_millionths(line: object, first: int) -> None:
    chance = random.Random(1)
    losses = [chance.uniform(2, 9) for _ in range(1500)]
    text = "".join(line(step, shown) for step, shown in enumerate(averaged(losses, first), start=first))  # type: ignore[operator]
    found = [s.raw_loss for s in of(Step, read(text))]
    assert max(abs(x - y) for x, y in zip(found, losses, strict=True)) < 1.1e-5


def test_after_a_gap_the_own_loss_is_unknown_for_one_step() -> None:
    shown = averaged([5.0] * 400, 0)
    kept = [0, 1, 2, 5, 6, 300, 301]
    steps = of(Step, read("".join(base_line(i, shown[i]) for i in kept)))
    assert [s.raw_loss is None for s in steps] == [False, False, False, True, False, True, False]


def test_a_repeated_line_does_not_disturb_the_next() -> None:
    shown = averaged([5.0, 6.0, 7.0, 8.0], 0)
    steps = of(Step, read("".join(base_line(i, shown[i]) for i in (0, 1, 1, 2, 3))))
    assert [s.raw_loss for s in steps] == [
        5.0,
        pytest.approx(6, abs=1e-5),
        None,
        *map(pytest.approx, (7, 8), (1e-5, 1e-5)),
    ]


def test_a_resumed_process_does_not_take_the_average_of_the_one_before() -> None:
    shown = averaged([5.0] * 400, 0)
    header = "Autodetected device type: cuda\nResuming optimization from step 300\n"
    text = header + base_line(298, shown[298]) + base_line(299, shown[299]) + header + base_line(300, shown[300])
    records = read(text)
    assert [s.raw_loss is None for s in of(Step, records)] == [True, False, True]
    assert len(of(Start, records)) == 2
    assert Facts(resumed_from=300) in records


def test_one_nan_is_the_own_loss_of_its_step_and_hides_all_that_follow() -> None:
    shown = ["8.000000", "8.000000", "nan", "nan", "nan"]
    steps = of(Step, read("".join(base_line(i, x) for i, x in enumerate(shown))))
    assert [math.isnan(s.loss) for s in steps] == [False, False, True, True, True]
    assert repr([s.raw_loss for s in steps[2:]]) == "[nan, None, None]"


def test_mfu_0_is_a_placeholder_and_small_ones_are_not() -> None:
    shown = ("0.00", "0.35", "-1.0", "nan")
    steps = of(Step, read("".join(base_line(i, "8.0").replace("mfu: 0.00", f"mfu: {x}") for i, x in enumerate(shown))))
    assert [s.mfu_ratio for s in steps] == [None, pytest.approx(0.0035), None, None]


def test_the_line_of_2025_of_chat_sft_shows_the_loss_itself() -> None:
    text = "Step 00012/00700 | Training loss: 1.234567| lrm: 0.982857| num_tokens: 12,345\n"
    records = read(text + "Step 00012 | Validation loss: 1.300000\n")
    assert of(Step, records) == [Step(12, 1.234567, lr_multiplier=0.982857, total_steps=700, line=1)]
    assert of(Validation, records) == [Validation("loss", 1.3, 12, None, 2)]


def test_evaluations_carry_their_metric_and_step() -> None:
    records = read(
        "Step 00250 | Validation bpb: 2.588527\nStep 00250 | CORE metric: 0.2219\n"
        "Step 00399 | ChatCORE: 0.2312 | ChatCORE_cat: 0.1234\nStep 2 | Pass@1: 0.0100, Pass@8: 0.0225\n"
        "val bpb: 0.753336\n"
    )
    assert [(v.metric, v.value, v.step) for v in of(Validation, records)] == [
        ("bits_per_byte", 2.588527, 250),
        ("core", 0.2219, 250),
        ("chatcore", 0.2312, 399),
        ("chatcore_cat", 0.1234, 399),
        ("pass@1", 0.01, 2),
        ("pass@8", 0.0225, 2),
        ("bits_per_byte", 0.753336, None),
    ]


def test_the_header_tells_the_hardware_and_unknown_peaks_are_left_out() -> None:
    header = (
        "Autodetected device type: cuda\n"
        "2026-02-01 20:37:26,202 - nanochat.common - \x1b[32m\x1b[1mINFO\x1b[0m - Distributed world size: 8\n"
        "GPU: NVIDIA H100 80GB HBM3 | Peak FLOPS (BF16): 9.89e+14\n"
        "COMPUTE_DTYPE: torch.bfloat16 (auto-detected: CUDA)\n"
    )
    facts = Facts()
    for fact in of(Facts, read(header)):
        facts = facts.merged(fact)
    assert (facts.gpu, facts.peak_flops, facts.world_size, facts.precision) == (
        "NVIDIA H100 80GB HBM3",
        9.89e14,
        8,
        "bf16",
    )
    (unknown,) = [f for f in of(Facts, read("GPU: NVIDIA GeForce RTX 4070 | Peak FLOPS (BF16): inf\n")) if f.gpu]
    assert (unknown.gpu, unknown.peak_flops) == ("NVIDIA GeForce RTX 4070", None)


def test_header_lines_of_stderr_that_overtake_stdout_start_one_process_only() -> None:
    one = "Distributed world size: 8\nAutodetected device type: cuda\n"
    other = "Autodetected device type: cuda\nDistributed world size: 8\n"
    crash = "Traceback (most recent call last):\nIndexError: x\n"
    assert len(of(Start, read(one + base_line(0, "8.0") + other + base_line(1, "8.0")))) == 2
    assert len(of(Start, read("Distributed world size: 8\n" + crash + "Autodetected device type: cuda\n"))) == 1
    assert len(of(Start, read("Distributed world size: 8\n" + crash + one))) == 2


def test_source_code_in_the_log_is_no_step() -> None:
    code = 'print0(f"step {step:05d}/{num_iterations:05d} ({pct_done:.2f}%) | loss: {loss:.6f} | lrm: {lrm:.2f}")\n'
    assert of(Step, read(code + base_line(0, "8.0"))) == of(Step, read("\n" + base_line(0, "8.0")))


@pytest.mark.parametrize(
    ("name", "spikes"), [("base_train_spike.log", {466: 8.179, 908: 7.205}), ("base_train_slow.log", {})]
)
def test_real_logs_are_read_whole(name: str, spikes: dict[int, float]) -> None:
    data = (DATA / name).read_bytes()
    records = decode(open_decoder(data[:4096]), data)
    steps = of(Step, records)
    assert [s.step for s in steps] == list(range(len(steps)))
    assert all(s.raw_loss is not None and 2 < s.raw_loss < 10 for s in steps)
    assert {i: round(steps[i].raw_loss, 3) for i in spikes} == spikes
    assert (len(of(Start, records)), len(of(Finish, records))) == (1, 1)
    assert {p.kind for p in of(Pause, records)} == {"evaluation", "checkpoint", "sampling"}


NUMBERS = st.one_of(
    st.floats(0, 20).map("{:.6f}".format),
    st.sampled_from(["nan", "inf", "-inf", "0.000000", "1e400", "x", "1,024", "é"]),
)
LINES = st.lists(
    st.tuples(
        st.sampled_from([1, 1, 1, 1, 1, 1, 0, 2, -30]),
        NUMBERS,
        st.sampled_from(["", "", "grad norm: 0.5 | ", "grad norm: ? | "]),
        st.sampled_from(["250.00", "250.01", "nan"]),
        st.sampled_from(["4,096", "4,097", ","]),
        st.sampled_from(["", "epoch: 1 | ", "epoch: 1 pq: 3 rg: 0 | "]),
        st.sampled_from(
            ["", "", "", "Step 00010 | Validation bpb: 1.2\n", "\n", "step 00010/09999 (0.1%) | loss: 3\n"]
        ),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(LINES, st.sampled_from([0, 1, 395, 100_000]))
def test_many_lines_at_once_are_read_as_each_by_itself(lines: list[tuple], step: int) -> None:
    text = ""
    for by, loss, norm, dt, tokens, epoch, after in lines:
        step = max(0, step + by)
        text += (
            f"step {step:05d}/200000 (0.1%) | loss: {loss} | {norm}lrm: 1.00 | dt: {dt}ms | tok/sec: {tokens} | "
            f"bf16_mfu: 41.50 | {epoch}total time: 0.00m\n{after}"
        )
    together = read(text)
    with patch.object(Nanochat, "columns", Format.columns):
        assert repr(read(text)) == repr(together)


def test_a_long_log_comes_in_columns() -> None:
    log = "".join(base_line(step, "3.141593") for step in range(1500)).encode()
    records = open_decoder(b"").feed(log)
    assert [len(r) for r in records if isinstance(r, Steps)] == [512, 512, 475]
    assert [s.step for s in steps_in(records)] == list(range(1500))
