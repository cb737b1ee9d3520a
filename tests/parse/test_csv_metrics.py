import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoding import assert_split_makes_no_difference, decode, decode_with_restarts
from training_monitor.parse.csv_metrics import CsvDecoder, is_header
from training_monitor.records import Facts, Record, Start, Step, Validation

LIGHTNING = (Path(__file__).parents[1] / "data" / "lightning" / "metrics.csv").read_bytes()


def of(kind: type, records: list[Record]) -> list:
    return [r for r in records if type(r) is kind]


def table(*rows: str) -> bytes:
    return "\n".join([*rows, ""]).encode()


def test_a_lightning_file_gives_its_steps_and_validations() -> None:
    records = assert_split_makes_no_difference(CsvDecoder, LIGHTNING)
    steps = of(Step, records)
    assert [s.step for s in steps] == list(range(400))
    assert (steps[0].loss, steps[0].learning_rate) == (0.559012234210968, 0.0010000000474974513)
    assert steps[0].mfu_ratio == 0.4000000059604645  # float32
    assert (steps[0].line, records[0]) == (2, Facts(format="lightning-csv", flush_s=0.0))
    assert of(Validation, records)[0] == Validation("loss", 0.27879419922828674, 49, None, 52)


def test_an_empty_cell_says_nothing_and_nan_is_a_value() -> None:
    steps = of(Step, decode(CsvDecoder(), table("step,loss,grad_norm", "1,nan,", "2,,3.5", "3,-inf,NaN")))
    assert repr([(s.loss, s.grad_norm) for s in steps]) == "[(nan, None), (None, 3.5), (-inf, nan)]"


def test_a_rewrite_with_a_new_column_tells_no_row_twice() -> None:
    before = table("step,train/loss", "0,3.0", "1,2.5")
    after = table("step,train/loss,val/loss", "0,3.0,", "1,2.5,", "1,,2.7", "2,2.0,")
    decoder = CsvDecoder()
    first = decoder.feed(before) + decoder.end()
    decoder.replaced()
    records = decoder.feed(after)
    assert [s.step for s in of(Step, first)] == [0, 1]
    assert records == [Validation("loss", 2.7, 1, None, 4), Step(2, loss=2.0, line=5)]


def test_a_rewrite_caught_in_the_middle_of_a_row_tells_it_whole() -> None:
    decoder = CsvDecoder()
    records = decoder.feed(b"step,loss\n0,3.0\n1,2.") + decoder.end()
    decoder.replaced()
    records += decoder.feed(table("step,loss,val_loss", "0,3.0,", "1,2.55,"))
    assert [(s.step, s.loss) for s in of(Step, records)] == [(0, 3.0), (1, 2.0), (1, 2.55)]


def test_another_run_in_the_same_file_is_told_from_its_first_new_row() -> None:
    decoder = CsvDecoder()
    decoder.feed(table("step,loss", "0,3.0", "1,2.5", "2,2.2"))
    decoder.replaced()
    assert [s.loss for s in of(Step, decoder.feed(table("step,loss", "0,3.1", "1,2.6")))] == [3.1, 2.6]


def test_long_files_are_rewritten_without_repeats_and_with_bounded_memory() -> None:
    rows = [f"{i},{3 - i * 1e-4}" for i in range(5000)]
    decoder = CsvDecoder()
    decoder.feed(table("step,loss", *rows))
    decoder.replaced()
    new = decoder.feed(table("step,loss,val_loss", *(f"{r}," for r in rows), "5000,1.0,"))
    assert [s.step for s in of(Step, new)] == [5000]
    assert len(str(decoder.state())) < 40_000


def test_a_process_that_appends_its_own_header_is_a_new_start() -> None:
    data = table("step,loss", "1,3.0", "2,2.5", "step,loss", "1,3.0")
    records = decode(CsvDecoder(), data)
    assert [type(r) for r in records] == [Facts, Step, Step, Start, Step]


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_other_delimiters_and_quotes_are_read(delimiter: str) -> None:
    rows = [["step", "loss", '"note"'], ["1", "2.5", f'"a{delimiter}b"']]
    steps = of(Step, decode(CsvDecoder(), table(*(delimiter.join(r) for r in rows))))
    assert [(s.step, s.loss) for s in steps] == [(1, 2.5)]


def test_a_file_without_steps_counts_its_rows_and_says_so() -> None:
    records = decode(CsvDecoder(), table("epoch,accuracy,loss,val_loss", "0,0.1,2.0,2.1", "1,0.2,1.5,1.7"))
    assert [s.step for s in of(Step, records)] == [1, 2]
    assert any(f.step_inferred for f in of(Facts, records))


def test_bad_rows_are_counted_and_survived() -> None:
    decoder = CsvDecoder()
    records = decode(decoder, table("step,loss", "1", "2,3,4", "Traceback (most recent call last):", "3,1.5"))
    assert [s.step for s in of(Step, records)] == [3]
    assert decoder.counts.errors == {"bad_row": 3}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"epoch,lr,mfu,step,train/loss,val/loss", True),
        (b"epoch,accuracy,loss,val_accuracy,val_loss", True),
        (b"step\tloss", True),
        (b"0,0.001,0.4,0,0.559,", False),
        (b"loss", False),
        (b"step 1, loss: 2.0, lr: 3", False),
        (b"step=1,loss=2", False),
        (b"name,age,city", False),
        (b"", False),
    ],
)
def test_a_header_is_known_by_its_names(line: bytes, expected: bool) -> None:
    assert is_header(line) is expected


@given(st.binary(max_size=300))
def test_any_bytes_raise_nothing(data: bytes) -> None:
    decode(CsvDecoder(), b"step,loss,val_loss\n" + data, [20])
    decode(CsvDecoder(), data)


@given(st.lists(st.integers(0, len(LIGHTNING)), max_size=6))
def test_any_split_and_restart_gives_the_same(cuts: list[int]) -> None:
    data = LIGHTNING[:3000]
    assert repr(decode_with_restarts(CsvDecoder, data, [c % 3000 for c in cuts])) == repr(decode(CsvDecoder(), data))


def test_a_nan_loss_is_read_where_lightning_wrote_it() -> None:
    nans = [s.step for s in of(Step, decode(CsvDecoder(), LIGHTNING)) if s.loss is not None and math.isnan(s.loss)]
    assert nans[-1] == 399
    assert nans == list(range(nans[0], 400))
