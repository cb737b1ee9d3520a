import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_monitor.parse.rows import MAX_METRICS, RowReader, facts_of, flattened, number, plan_of
from training_monitor.records import Facts, Finish, Record, Step, Validation


def read(*rows: dict[str, object]) -> list[Record]:
    return RowReader().rows(rows)


def test_a_row_becomes_a_step_and_its_validations() -> None:
    row = {"step": 7, "train/loss": 2.5, "lr": 1e-4, "val/loss": 2.7, "_timestamp": 1795370093.5, "note": "hi"}
    time = 1795370093.5
    assert read(row) == [Step(7, loss=2.5, learning_rate=1e-4, time=time), Validation("loss", 2.7, 7, time)]


def test_units_become_base_units() -> None:
    (step,) = read({"step": 1, "step_time_ms": 250, "mfu(%)": 42.5, "throughput/device/flops_per_sec": 4e14})
    assert (step.step_time_s, step.mfu_ratio, step.tflops) == (0.25, pytest.approx(0.425), pytest.approx(400))


@pytest.mark.parametrize(
    ("rows", "ratios"),
    [
        ([{"mfu": 0.4}, {"mfu": 0.41}], [0.4, 0.41]),
        ([{"mfu": 40.0}, {"mfu": 0.9}], [0.4, 0.009]),
        ([{"mfu": 0.35, "total_training_flops": 1e9}], [0.0035]),  # nanochat on a slow GPU
        ([{"mfu": -100.0}, {"mfu": 0.0}, {"mfu": 0.3}], [None, None, 0.3]),
    ],
)
def test_mfu_is_a_ratio_whatever_was_logged(rows: list[dict[str, object]], ratios: list[float | None]) -> None:
    steps = [r for r in read(*({"step": i, "loss": 1.0, **row} for i, row in enumerate(rows))) if isinstance(r, Step)]
    assert [s.mfu_ratio for s in steps] == pytest.approx(ratios)


def test_a_step_time_above_a_thousand_is_milliseconds() -> None:
    steps = read({"step": 0, "dt": 25_000.0}, {"step": 1, "dt": 340.0})
    assert [s.step_time_s for s in steps] == [25.0, 0.34]  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["NaN", "nan", "Infinity", "-inf", " 2.5", "1e-4", b"2.5"])
def test_numbers_may_be_quoted(text: str) -> None:
    assert repr(number(text)) == repr(float(text))


@pytest.mark.parametrize("value", [None, True, "", "abc", [], {}, "1" * 99, 10**400, "0x10"])
def test_what_is_no_number_says_nothing(value: object) -> None:
    assert number(value) is None


def test_a_hidden_nan_is_told_beside_the_loss_that_was_logged() -> None:
    hidden, gone, plain = read(
        {"step": 1, "loss": 0.0, "grad_norm": math.nan},
        {"step": 2, "loss": 0.0, "grad_norm": math.inf},
        {"step": 3, "loss": 0.0, "grad_norm": 0.5},
    )
    assert [math.isnan(s.raw_loss or 0) for s in (hidden, gone, plain)] == [True, True, False]  # type: ignore[union-attr]
    assert hidden.loss == 0.0  # type: ignore[union-attr]


def test_wandbs_own_counter_gives_way_to_that_of_the_trainer() -> None:
    rows = [{"_step": 0, "loss": 3.0}, {"_step": 1, "step": 100, "loss": 2.0}, {"_step": 2, "val_loss": 2.2}]
    assert [r.step for r in read(*rows)] == [0, 100, 100]  # type: ignore[union-attr]


def test_rows_without_a_counter_are_counted_and_that_is_said() -> None:
    records = read({"loss": 3.0}, {"loss": 2.0}, {"val_loss": 2.1})
    assert records[0] == Facts(step_inferred="rows counted: they carry no step")
    assert [r.step for r in records[1:]] == [1, 2, 2]  # type: ignore[union-attr]


def test_rows_of_other_things_give_nothing() -> None:
    assert read({"epoch": 1, "step": 5}, {"gpu.0.temp": 60}, {}, {"step": 3, "loss": None}) == []


def test_the_row_at_the_end_of_hf_training_is_no_step() -> None:
    assert read({"train_runtime": 9.0, "total_flos": 1e9, "train_loss": 3.1, "step": 20}) == [Finish()]


def test_whose_tokens_are_counted_is_said_once() -> None:
    rows = [{"step": i, "tokens_per_second_per_gpu": 100.0} for i in range(3)]
    assert [r for r in read(*rows) if isinstance(r, Facts)] == [Facts(tokens_scope="device")]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (1795370093, 1795370093.0),
        (1795370093500, 1795370093.5),
        ("2026-11-22T17:54:53.500000+00:00", 1795370093.5),
        ("2026-11-22T17:54:53Z", 1795370093.0),
        ("2026-11-22 17:54:53", 1795370093.0),
        ("0:32:48", None),
        (12.5, None),
        ("2026-99-99T00:00:00", None),
    ],
)
def test_times_are_unix_seconds(written: object, seconds: float | None) -> None:
    assert read({"step": 1, "loss": 1.0, "timestamp": written}) == [Step(1, loss=1.0, time=seconds)]


def test_nanochat_logs_a_moving_average_and_the_tokens_of_all_devices() -> None:
    row = {"step": 1, "total_training_flops": 1e9, "train/loss": 3.0, "train/tok_per_sec": 1e6, "train/mfu": 0.5}
    scope, kind, step = read(row)
    assert (scope, kind) == (Facts(tokens_scope="global"), Facts(loss_kind="moving average (0.9)"))
    assert step == Step(1, loss=3.0, tokens_per_second=1e6, mfu_ratio=0.005)


@pytest.mark.parametrize(("every", "kind"), [(1, "raw"), ("50", "mean of 50 steps"), (0.1, None), (None, None)])
def test_the_configuration_of_hf_trainer_says_what_a_loss_is(every: object, kind: str | None) -> None:
    facts = facts_of({"logging_steps": every})
    assert (facts.loss_kind if facts else None) == kind


def test_nested_rows_are_flattened() -> None:
    assert read({"step": 1, "train": {"loss": 2.0, "optim": {"lr": 0.1}}}) == [Step(1, loss=2.0, learning_rate=0.1)]
    assert flattened({"a": {"b": {"c": {"d": {"e": 1}}}}}) == {}


@pytest.mark.parametrize("step", [-1, "x", math.nan, math.inf, 2**60, None, True])
def test_a_step_that_is_none_leaves_the_row_to_the_latest_one(step: object) -> None:
    assert [r.step for r in read({"step": 4, "loss": 1.0}, {"step": step, "val_loss": 2.0})] == [4, 4]  # type: ignore[union-attr]


def test_validation_metrics_are_bounded() -> None:
    records = read(*({"step": 1, f"eval_set{i}_loss": 1.0} for i in range(100)))
    assert len(records) == MAX_METRICS


def test_the_configuration_gives_numbers_above_zero_and_nothing_else() -> None:
    config = {
        "train": {"max_steps": "500"},
        "model/num_parameters": 124e6,
        "world_size": -1,
        "seq_len": None,
        "user": "me",
    }
    assert facts_of(config) == Facts(total_steps=500, parameters=124e6)
    assert facts_of({"lr": 0.1}) is None


def test_reading_goes_on_from_saved_state() -> None:
    rows = [{"step": 1, "mfu": 40.0, "dt": 2000.0, "tps": 5.0}, {"step": 2, "mfu": 1.0, "dt": 900.0, "val_loss": 1.0}]
    first = RowReader()
    before = first.rows(rows[:1])
    second = RowReader()
    second.restore(json.loads(json.dumps(first.state())))
    assert before + second.rows(rows[1:]) == read(*rows)


KEYS = st.sampled_from(
    ["step", "_step", "loss", "lr", "mfu", "dt", "val_loss", "grad_norm", "timestamp", "total_flos", "x"]
)
VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.integers(), max_size=2)
)


@given(st.lists(st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES, max_size=3)), max_size=8))
def test_any_rows_raise_nothing_and_give_sound_steps(rows: list[dict[str, object]]) -> None:
    for record in read(*rows):
        if isinstance(record, Step):
            assert 0 <= record.step < 2**53
            assert record.mfu_ratio is None or not record.mfu_ratio <= 0


def test_the_plan_of_many_columns_is_made_once() -> None:
    names = ("step", *(f"layer{i}" for i in range(500)), "loss")
    assert plan_of(names) is plan_of(tuple(names))
