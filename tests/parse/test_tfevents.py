import json
import math
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import needs
from decoding import assert_split_makes_no_difference, decode
from training_monitor.parse.tfevents import TfEventsDecoder
from training_monitor.parse.tfrecord import MAX_RECORD, masked_crc32c
from training_monitor.records import Facts, Failure, Finish, Record, Start, Step, Validation
from wandb_writer import field, varint

DATA = Path(__file__).parents[1] / "data" / "tfevents"
SAMPLES = sorted(path.stem for path in DATA.glob("*.tfevents"))


def sample(name: str) -> bytes:
    return (DATA / f"{name}.tfevents").read_bytes()


def of(kind: type, records: list[Record]) -> list:
    return [r for r in records if type(r) is kind]


def framed(*events: bytes) -> bytes:
    out = b""
    for e in events:
        length = struct.pack("<Q", len(e))
        out += length + struct.pack("<I", masked_crc32c(length)) + e + struct.pack("<I", masked_crc32c(e))
    return out


def event(step: int, *values: bytes) -> bytes:
    return b"\x09" + struct.pack("<d", 1_795_371_449.0) + (field(2, step) if step else b"") + field(5, b"".join(values))


def scalar(tag: str, value: float) -> bytes:
    return field(1, field(1, tag.encode()) + b"\x15" + struct.pack("<f", value))


def log(step: int, **values: float) -> list[bytes]:
    return [event(step, scalar(tag, value)) for tag, value in values.items()]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_split_gives_the_same_records(name: str) -> None:
    assert_split_makes_no_difference(TfEventsDecoder, sample(name))


@pytest.mark.parametrize(
    ("name", "steps", "last"),
    [("hf-trainer", 60, 60), ("tensorboardX", 60, 59), ("torch", 150, 149), ("lightning", 400, 399)],
)
def test_many_tags_give_one_record_per_step(name: str, steps: int, last: int) -> None:
    decoder = TfEventsDecoder()
    records = decode(decoder, sample(name))
    assert [s.step for s in of(Step, records)][-1] == last
    assert len(of(Step, records)) == steps
    assert not decoder.counts.errors


@pytest.mark.parametrize("name", SAMPLES)
def test_the_quick_way_reads_what_the_thorough_way_reads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = decode(TfEventsDecoder(), sample(name))
    monkeypatch.setattr(TfEventsDecoder, "_plain", lambda *_: False)
    assert repr(decode(TfEventsDecoder(), sample(name))) == repr(quick)


def test_a_file_begins_with_the_start_and_the_flush_delay() -> None:
    start, facts, *_ = decode(TfEventsDecoder(), sample("tensorboardX"))
    assert start == Start(1795371449.9030986)
    assert facts == Facts(format="tensorboard", flush_s=120)


def test_hf_trainer_tells_its_planned_steps_its_end_and_a_hidden_nan() -> None:
    records = decode(TfEventsDecoder(), sample("hf-trainer"))
    assert [f.total_steps for f in of(Facts, records)] == [None, 60]
    assert of(Finish, records)
    hidden = [s for s in of(Step, records) if s.loss == 0.0]
    assert hidden[0].step == 34
    assert all(math.isnan(s.raw_loss) and math.isnan(s.grad_norm) for s in hidden)
    assert [v.step for v in of(Validation, records)] == [20, 40, 60]


def test_a_step_is_told_with_its_last_tag_and_not_a_step_later() -> None:
    decoder = TfEventsDecoder()
    decoder.feed(framed(*log(1, loss=3.0, lr=0.1), *log(2, loss=2.5, lr=0.1)))
    (step,) = decoder.feed(framed(*log(3, loss=2.0, lr=0.1)))
    assert (step.step, step.loss) == (3, 2.0)


def test_a_tag_that_is_logged_more_rarely_completes_its_step() -> None:
    events = [e for i in range(1, 5) for e in log(i, loss=1.0, lr=0.5, **({"grad_norm": 2.0} if i == 3 else {}))]
    steps = of(Step, decode(TfEventsDecoder(), framed(*events)))
    assert [(s.step, s.loss, s.grad_norm) for s in steps] == [
        (1, 1, None),
        (2, 1, None),
        (3, 1, None),
        (3, None, 2),
        (4, 1, None),
    ]


def test_tensors_of_one_number_are_scalars() -> None:
    def tensor(tag: str, content: bytes) -> bytes:
        return field(1, field(1, tag.encode()) + field(8, content))

    of_content = tensor("loss", field(1, 1) + field(4, struct.pack("<f", 1.5)))
    of_values = tensor("lr", field(1, 1) + field(5, struct.pack("<f", 0.25)))
    of_doubles = tensor("mfu", field(1, 2) + field(6, struct.pack("<d", 0.5)))
    picture = tensor("grad_norm", field(1, 1) + field(4, bytes(400)))
    data = framed(event(7, of_content, of_values, of_doubles, picture))
    assert of(Step, decode(TfEventsDecoder(), data)) == [
        Step(7, loss=1.5, learning_rate=0.25, mfu_ratio=0.5, time=1_795_371_449.0)
    ]


def test_a_restart_that_goes_back_is_told_in_order() -> None:
    events = [e for i in (1, 2, 3, 2, 3) for e in log(i, loss=1.0)]
    assert [s.step for s in of(Step, decode(TfEventsDecoder(), framed(*events)))] == [1, 2, 3, 2, 3]


def test_long_records_are_passed_over_with_bounded_memory() -> None:
    image = event(1, field(1, field(1, b"samples") + field(8, bytes(20 * MAX_RECORD))))
    data = framed(*log(1, loss=1.0), image, *log(2, loss=2.0))
    decoder = TfEventsDecoder()
    records: list[Record] = []
    for at in range(0, len(data), 10_000):
        records += decoder.feed(data[at : at + 10_000])
        assert len(json.dumps(decoder.state())) < 2 * MAX_RECORD
    assert [s.loss for s in of(Step, records + decoder.end())] == [1.0, 2.0]
    assert not decoder.counts.errors


def test_damage_is_counted_and_reading_goes_on_behind_it() -> None:
    data = bytearray(framed(*[e for i in range(1, 101) for e in log(i, loss=float(i))]))
    size = len(data) // 100
    data[20 * size + 2] ^= 0xFF  # a length
    data[50 * size + 25] ^= 0xFF  # a value
    decoder = TfEventsDecoder()
    losses = [s.loss for s in of(Step, decode(decoder, bytes(data)))]
    assert losses == [float(i) for i in range(1, 101) if i not in (21, 51)]
    assert sorted(decoder.counts.errors) in (["bad_checksum", "damaged"], ["damaged", "malformed"])


@given(st.integers(0, 8494))
def test_a_file_cut_anywhere_gives_the_steps_before_the_cut(cut: int) -> None:
    whole = of(Step, decode(TfEventsDecoder(), sample("tensorboardX")))
    part = of(Step, decode(TfEventsDecoder(), sample("tensorboardX")[:cut]))
    assert repr(part[:-1]) == repr(whole[: len(part)][:-1])  # the last may lack tags


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 8490), st.binary(min_size=1, max_size=30)), max_size=8))
def test_damage_anywhere_raises_nothing(damage: list[tuple[int, bytes]]) -> None:
    data = bytearray(sample("tensorboardX"))
    for at, junk in damage:
        data[at : at + len(junk)] = junk
    decode(TfEventsDecoder(), bytes(data), range(0, len(data), 2000))


@given(st.lists(st.binary(max_size=100), max_size=20))
def test_any_bytes_raise_nothing(events: list[bytes]) -> None:
    decode(
        TfEventsDecoder(),
        framed(*events, *(event(1, e) for e in events), *(b"\x2a" + varint(len(e)) + e for e in events)),
    )
    decode(TfEventsDecoder(), b"".join(events) + bytes(3000))


def test_a_crash_is_not_made_up() -> None:
    assert not of(Failure, decode(TfEventsDecoder(), sample("lightning")))


def test_what_tensorboardx_writes_is_read_while_it_writes(tmp_path: Path) -> None:
    writer = needs.package("tensorboardX").SummaryWriter(str(tmp_path), flush_secs=3600)
    (path,) = tmp_path.glob("events.*")
    decoder, records = TfEventsDecoder(), []
    with path.open("rb") as file:
        for step in range(500):
            writer.add_scalar("train/loss", 3.0 / (step + 1), step)
            writer.add_scalar("train/lr", 1e-3, step)
            if step % 50 == 49:
                deadline = time.monotonic() + 20
                while not (steps := of(Step, records)) or steps[-1].step != step:
                    assert time.monotonic() < deadline
                    writer.flush()  # its own thread writes
                    records += decoder.feed(file.read())
        writer.add_text("note", "text")
        writer.close()
        records += decoder.feed(file.read()) + decoder.end()
    losses = [s.loss for s in of(Step, records)]
    assert losses == [struct.unpack("<f", struct.pack("<f", 3.0 / (step + 1)))[0] for step in range(500)]
    assert not decoder.counts.errors
