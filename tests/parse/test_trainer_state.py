import json
import math
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from decoding import assert_split_makes_no_difference, decode
from training_monitor.parse.trainer_state import TrainerStateDecoder
from training_monitor.records import Facts, Finish, Record, Start, Step, Validation

DATA = Path(__file__).parents[1] / "data" / "hf"
WHOLE = (DATA / "trainer_state.nanfilter-on.json").read_bytes()
EARLY = (DATA / "trainer_state.step20.json").read_bytes()


def of(kind: type, records: list[Record]) -> list:
    return [r for r in records if type(r) is kind]


def document(losses: list[float], **more: object) -> bytes:
    history = [{"epoch": 0.1 * i, "loss": loss, "step": 10 * (i + 1)} for i, loss in enumerate(losses)]
    return json.dumps({"log_history": history, "logging_steps": 10, "max_steps": 500, **more}, indent=2).encode()


def test_the_history_gives_steps_validations_and_the_planned_length() -> None:
    records = assert_split_makes_no_difference(TrainerStateDecoder, WHOLE)
    steps = of(Step, records)
    assert [s.step for s in steps] == list(range(1, 61))
    assert (steps[0].loss, steps[0].grad_norm, steps[0].learning_rate) == (4.714879989624023, 0.6776466369628906, 5e-05)
    assert [v.step for v in of(Validation, records)] == [20, 40, 60]
    assert {f.total_steps for f in of(Facts, records)} == {None, 60}
    assert {f.loss_kind for f in of(Facts, records)} == {None, "raw"}


def test_a_loss_of_zero_beside_a_nan_gradient_is_a_hidden_nan() -> None:
    hidden = [s for s in of(Step, decode(TrainerStateDecoder(), WHOLE)) if s.loss == 0]
    assert [s.step for s in hidden] == list(range(34, 61))
    assert all(s.raw_loss is not None and math.isnan(s.raw_loss) for s in hidden)


def test_a_loss_of_zero_alone_is_a_loss_of_zero() -> None:
    (step,) = of(Step, decode(TrainerStateDecoder(), document([0.0])))
    assert (step.loss, step.raw_loss) == (0.0, None)


def test_the_next_checkpoint_tells_only_what_is_new() -> None:
    decoder = TrainerStateDecoder()
    first = decoder.feed(EARLY) + decoder.end()
    decoder.replaced()
    second = decoder.feed(WHOLE) + decoder.end()
    assert [s.step for s in of(Step, first + second)] == list(range(1, 61))
    assert not of(Start, second)


def test_a_history_that_takes_another_turn_is_a_resumed_run() -> None:
    decoder = TrainerStateDecoder()
    decoder.feed(document([4.0, 3.0, 2.9, 2.8]))
    decoder.replaced()
    again = decoder.feed(document([4.0, 3.0, 2.7, 2.6, 2.5]))
    assert [type(r) for r in again] == [Start, Step, Step, Step]
    assert [s.step for s in of(Step, again)] == [30, 40, 50]


def test_the_end_of_training_is_told() -> None:
    summary = {"epoch": 1.0, "step": 20, "total_flos": 1e9, "train_loss": 3.1, "train_runtime": 9.0}
    data = document([3.0, 2.5]).replace(b"\n  ],", b",\n" + json.dumps(summary).encode() + b"\n  ],")
    records = decode(TrainerStateDecoder(), data)
    assert len(of(Step, records)) == 2
    assert len(of(Finish, records)) == 1


def test_the_mean_that_a_loss_is_stands_in_the_facts() -> None:
    assert of(Facts, decode(TrainerStateDecoder(), document([3.0])))[0].loss_kind == "mean of 10 steps"


def test_without_planned_steps_none_are_told() -> None:
    data = document([3.0]).replace(b'"max_steps": 500', b'"max_steps": -1')
    assert all(f.total_steps is None for f in of(Facts, decode(TrainerStateDecoder(), data)))


def test_a_half_written_file_gives_what_is_in_it() -> None:
    steps = of(Step, decode(TrainerStateDecoder(), WHOLE[: len(WHOLE) // 2]))
    assert 20 < len(steps) < 60


def test_compact_json_and_nested_entries_are_read() -> None:
    history = [{"step": 1, "loss": 2.0, "rewards": {"mean": 1.0}}, {"step": 2, "loss": 1.5}]
    data = json.dumps({"max_steps": 9, "log_history": history}, separators=(",", ":")).encode()
    assert [s.step for s in of(Step, decode(TrainerStateDecoder(), data))] == [1, 2]


def test_what_is_no_history_is_counted_and_passed_over() -> None:
    for data in (
        b'{"log_history": [1, 2]}',
        b'{"log_history": [{"step": oops}]}',
        b'{"log_history": [{' + b"x" * 200_000,
    ):
        decoder = TrainerStateDecoder()
        assert decode(decoder, data, range(0, len(data), 1000)) == []
        assert decoder.counts.errors == {"bad_entry": 1}
        assert len(json.dumps(decoder.state())) < 1000


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, len(EARLY)), st.binary(min_size=1, max_size=20)), max_size=6))
def test_damage_anywhere_raises_nothing(damage: list[tuple[int, bytes]]) -> None:
    data = bytearray(EARLY)
    for at, junk in damage:
        data[at : at + len(junk)] = junk
    assert repr(decode(TrainerStateDecoder(), bytes(data), range(0, len(data), 700))) == repr(
        decode(TrainerStateDecoder(), bytes(data))
    )
