import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wandb_writer as w
from decoding import assert_split_makes_no_difference, decode
from training_monitor.parse.rows import flattened
from training_monitor.parse.wandb import WandbDecoder
from training_monitor.parse.wandb_blocks import MAX_RECORD
from training_monitor.records import Facts, Failure, Finish, Record, Start, Step, Validation
from wandb_rows import history_rows

DATA = Path(__file__).parents[1] / "data" / "wandb"
SAMPLES = sorted(path.stem for path in DATA.glob("*.wandb"))
SHARED = Path(__file__).parents[3] / "shared" / "samples" / "wandb" / "offline-0.31.0"


def sample(name: str) -> list[Record]:
    return decode(WandbDecoder(), (DATA / f"{name}.wandb").read_bytes())


def of(kind: type, records: list[Record]) -> list:
    return [r for r in records if type(r) is kind]


@pytest.mark.parametrize("name", SAMPLES)
def test_rows_are_those_of_wandbs_own_inspector(name: str) -> None:
    golden = [flattened(json.loads(line)) for line in (DATA / f"{name}.history.jsonl").read_text().splitlines()]
    assert history_rows((DATA / f"{name}.wandb").read_bytes()) == golden


def test_rows_of_the_long_run_are_those_of_wandbs_own_inspector() -> None:
    files = list(SHARED.glob("wandb/*/*.wandb"))
    if not files:
        pytest.skip("the run of 1.4 MB lies outside the repository")
    lines = files[0].with_suffix(".leet.jsonl").read_text().splitlines()
    golden = [flattened(json.loads(line)["history"]["item"]) for line in lines if '"type":"history"' in line]
    assert history_rows(files[0].read_bytes()) == golden
    assert len(of(Step, decode(WandbDecoder(), files[0].read_bytes()))) == 2000


@pytest.mark.parametrize("name", SAMPLES)
def test_the_quick_way_reads_what_the_thorough_way_reads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = sample(name)
    monkeypatch.setattr(WandbDecoder, "_plain_row", lambda *_: False)
    monkeypatch.setattr(WandbDecoder, "_plain_output", lambda *_: False)
    assert repr(sample(name)) == repr(quick)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_split_gives_the_same_records(name: str) -> None:
    assert_split_makes_no_difference(WandbDecoder, (DATA / f"{name}.wandb").read_bytes())


def test_one_byte_at_a_time_gives_the_same_records() -> None:
    data = (DATA / "0.31.0-exception.wandb").read_bytes()
    assert decode(WandbDecoder(), data, range(len(data))) == sample("0.31.0-exception")


def test_a_row_becomes_a_step_in_base_units() -> None:
    records = sample("0.22.3")
    step = of(Step, records)[0]
    assert (step.step, step.loss, step.learning_rate, step.mfu_ratio) == (0, 11.02825146214042, 0, 0.4130171094764942)
    assert (step.grad_norm, step.tokens_per_second) == (0.8640571103843158, 51239.11274721369)
    assert step.time == pytest.approx(1795370394.5, abs=1)
    assert of(Validation, records)[0] == Validation("loss", 11.128251462140419, 0, step.time)
    assert [s.step for s in of(Step, records)] == list(range(80))


def test_the_trainers_own_counter_is_the_step() -> None:
    steps = of(Step, sample("0.31.0-hf-trainer"))
    assert [s.step for s in steps] == list(range(1, 61))
    nans = [s.step for s in steps if s.loss is not None and math.isnan(s.loss)]
    assert nans[0] == 34
    assert nans[-1] == 60


def test_run_and_config_are_told_as_facts() -> None:
    records = sample("0.31.0-hf-trainer")
    assert of(Start, records) == [Start(1795372029.200122)]
    facts = Facts()
    for f in of(Facts, records):
        facts = facts.merged(f)
    assert (facts.format, facts.run_id, facts.total_steps, facts.parameters) == ("wandb", "y5g91fj9", 60, 30592)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("0.17.9", 600), ("0.22.3", 600), ("0.30.0", 600), ("0.31.0-online", 15), ("0.31.0-typed", 15)],
)
def test_the_writers_version_tells_how_late_rows_come(name: str, seconds: float) -> None:
    assert of(Facts, sample(name))[0].flush_s == seconds


@pytest.mark.parametrize("name", ["0.17.9", "0.22.3", "0.29.0", "0.30.0", "0.31.0-online", "0.31.0-hf-trainer"])
def test_exit_code_0_is_a_regular_end(name: str) -> None:
    assert type(sample(name)[-1]) is Finish


def test_an_exception_is_told_with_its_cause_once() -> None:
    failures = of(Failure, sample("0.31.0-exception"))
    assert [(f.kind, f.fatal, f.text) for f in failures] == [
        ("cuda_oom", True, "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB")
    ]
    assert failures[0].time == pytest.approx(1795372460.192132)


def test_a_killed_run_says_nothing_about_its_end() -> None:
    assert not of(Finish, sample("0.31.0-killed")) + of(Failure, sample("0.31.0-killed"))


def test_alerts_of_the_training_code_are_counted_and_end_nothing() -> None:
    assert of(Failure, sample("0.31.0-typed")) == [Failure("wandb_alert", "INFO: t: text", fatal=False)]


def test_an_exit_code_without_a_cause_in_the_console_is_a_failure() -> None:
    data = w.file(w.run(), w.history({"_step": 1, "loss": 2.0}), w.exited(3))
    assert of(Failure, decode(WandbDecoder(), data)) == [Failure("exit_code", "exit code 3")]


def test_a_users_interrupt_is_no_crash() -> None:
    told = w.file(
        w.run(), w.output("Traceback (most recent call last):\n"), w.output("KeyboardInterrupt\n"), w.exited(255)
    )
    untold = w.file(w.run(), w.exited(255))
    for data in (told, untold):
        assert [(f.kind, f.fatal) for f in of(Failure, decode(WandbDecoder(), data))] == [("keyboard_interrupt", False)]


def test_a_row_written_after_the_traceback_hides_no_cause() -> None:
    oom = w.output("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.90 GiB.\n")
    data = w.file(w.run(), oom, w.history({"_step": 9, "loss": 1.0}), w.exited(1))
    assert [f.kind for f in of(Failure, decode(WandbDecoder(), data))] == ["cuda_oom"]


def test_an_error_that_was_survived_is_not_the_cause_of_a_later_end() -> None:
    oom = w.output("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.90 GiB.\n")
    rows = [w.history({"_step": i, "loss": 1.0}) for i in range(100)]
    data = w.file(w.run(), oom, *rows, w.exited(1))
    assert [f.kind for f in of(Failure, decode(WandbDecoder(), data))] == ["cuda_oom", "exit_code"]


def test_console_lines_come_in_pieces_and_colours() -> None:
    pieces = [w.output(p) for p in ("\x1b[31mtorch.OutOfMem", "oryError: CUDA out", " of memory.\x1b[0m", "\n")]
    data = w.file(w.run(), *pieces, w.output("step 1\n", stdout=True), w.exited(1))
    assert [f.kind for f in of(Failure, decode(WandbDecoder(), data))] == ["cuda_oom"]


def test_rows_with_more_than_plain_numbers_lose_none_of_them() -> None:
    histogram = {"_type": "histogram", "values": [1, 2], "bins": [0, 1, 2]}
    row = {"_step": 3, "loss": 1.5, "text": "schön", "image": histogram, "ok": True, "none": None, "lr": 1e-4}
    step = of(Step, decode(WandbDecoder(), w.file(w.run(), w.history(row))))[0]
    assert (step.step, step.loss, step.learning_rate) == (3, 1.5, 1e-4)


def test_typed_values_beside_or_without_json_are_read() -> None:
    def item(name: bytes, typed: bytes, json_too: bytes = b"") -> bytes:
        return w.field(1, w.field(2, name) + typed + json_too)

    double = b"\x31" + __import__("struct").pack("<d", 2.5)
    step = item(b"global_step", w.field(5, 64), w.field(16, b"32"))  # sint64: 64 is 32
    row = w.record(2, item(b"loss", double) + step + w.field(2, w.field(1, 1)))
    assert of(Step, decode(WandbDecoder(), w.file(w.run(), row))) == [Step(32, loss=2.5)]


def test_a_damaged_record_costs_its_block_and_is_counted() -> None:
    rows = [w.history({"_step": i, "loss": float(i)}) for i in range(3000)]
    data = bytearray(w.file(w.run(), *rows))
    assert len(data) > 3 * w.BLOCK
    data[w.BLOCK + 500] ^= 0xFF
    decoder = WandbDecoder()
    steps = [s.step for s in of(Step, decode(decoder, bytes(data)))]
    assert decoder.counts.errors == {"damaged": 1}
    assert 2000 < len(steps) < 3000
    assert (steps[0], steps[-1]) == (0, 2999)


def test_a_row_longer_than_a_block_is_put_together() -> None:
    row = {"_step": 4, "loss": 0.5, **{f"layer{i}/weight": float(i) for i in range(4000)}}
    data = w.file(w.run(), w.history({"_step": 3}), w.history(row), w.exited(0))
    assert len(data) > 3 * w.BLOCK
    assert of(Step, assert_split_makes_no_difference(WandbDecoder, data, tries=2)) == [Step(4, loss=0.5)]


def test_an_endless_record_is_given_up_with_bounded_memory() -> None:
    decoder = WandbDecoder()
    data = w.file(w.run(), w.history({"x": "a" * (MAX_RECORD + 10)}), w.history({"_step": 1, "loss": 1.0}))
    assert [s.step for s in of(Step, decode(decoder, data))] == [1]
    assert decoder.counts.errors == {"record_too_long": 1}


def test_a_first_piece_of_no_bytes_is_a_piece() -> None:
    filler = w.BLOCK - 7 - 7 - 7  # leaves just a record's header in the block
    data = w.file(
        b"\x08\x01" + b"\x1a" + w.varint(filler - 6) + bytes(filler - 6), w.history({"_step": 2, "loss": 1.0})
    )
    assert data[w.BLOCK - 7 : w.BLOCK][4:] == b"\0\0\2"
    assert [s.step for s in of(Step, decode(WandbDecoder(), data))] == [2]


def test_unknown_records_and_versions_are_counted_and_survived() -> None:
    decoder = WandbDecoder()
    data = bytearray(w.file(w.record(77, b"future"), w.run(), w.history({"_step": 1, "loss": 1.0})))
    data[6] = 9
    assert len(of(Step, decode(decoder, bytes(data)))) == 1
    assert decoder.counts.errors == {"unknown_version": 1, "unknown_record": 1}


def test_a_file_of_zeros_or_of_another_kind_gives_nothing() -> None:
    for data, reason in (
        (b"", None),
        (b"step 1 | loss 2\n" * 5000, "not_wandb"),
        (w.HEADER + bytes(99_999), "unwritten"),
    ):
        decoder = WandbDecoder()
        assert decode(decoder, data) == []
        assert set(decoder.counts.errors) == ({reason} if reason else set())
        assert len(json.dumps(decoder.state())) < 2000


def test_a_new_file_after_the_end_of_one_starts_anew() -> None:
    first = w.file(w.run("a"), w.history({"_step": 1, "loss": 1.0}))[:-4]
    second = w.file(w.run("b"), w.history({"_step": 1, "loss": 2.0}))
    decoder = WandbDecoder()
    records = decoder.feed(first) + decoder.end() + decoder.feed(second)
    assert [f.run_id for f in of(Facts, records)] == ["a", "b"]
    assert [s.loss for s in of(Step, records)] == [2.0]
    assert not decoder.counts.errors


@given(st.integers(0, 12_000))
def test_a_file_cut_anywhere_gives_the_records_before_the_cut(cut: int) -> None:
    whole = sample("0.31.0-killed")
    part = decode(WandbDecoder(), (DATA / "0.31.0-killed.wandb").read_bytes()[:cut])
    assert repr(part) == repr(whole[: len(part)])


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 10_620), st.binary(min_size=1, max_size=30)), max_size=8))
def test_damage_anywhere_raises_nothing(damage: list[tuple[int, bytes]]) -> None:
    data = bytearray((DATA / "0.31.0-exception.wandb").read_bytes())
    for at, junk in damage:
        data[at : at + len(junk)] = junk
    decode(WandbDecoder(), bytes(data), range(0, len(data), 3000))


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_any_bytes_in_sound_records_raise_nothing(records: list[bytes]) -> None:
    wrapped = [w.record(n, data) for n, data in zip([2, 13, 17, 18, 5, 10, 21] * 3, records, strict=False)]
    decode(WandbDecoder(), w.file(*records, *wrapped))


@given(
    st.dictionaries(
        st.sampled_from(["loss", "lr", "_step", "a.b", "ä", "train.loss"]), st.floats() | st.text(max_size=9)
    )
)
def test_both_ways_agree_on_any_row(row: dict[str, object]) -> None:
    data = w.file(w.run(), w.history(row))
    quick = decode(WandbDecoder(), data)
    thorough = WandbDecoder()
    thorough._plain_row = lambda *_: False  # type: ignore[method-assign]
    assert repr(quick) == repr(decode(thorough, data))
