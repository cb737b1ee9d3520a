import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding import decode
from training_monitor.parse.files import FILES, file_format
from training_monitor.records import Step

DATA = Path(__file__).parents[1] / "data"
SAMPLES = {
    "wandb": (DATA / "wandb" / "0.31.0-killed.wandb").read_bytes(),
    "tensorboard": (DATA / "tfevents" / "torch.tfevents").read_bytes(),
    "trainer-state": (DATA / "hf" / "trainer_state.step20.json").read_bytes(),
    "lightning-csv": (DATA / "lightning" / "metrics.csv").read_bytes(),
}
formats = pytest.mark.parametrize("name", FILES)


@formats
def test_a_sample_is_known_by_its_content_alone(name: str) -> None:
    assert file_format(SAMPLES[name][:4096]) == name
    assert file_format(SAMPLES[name], "/tmp/training.log") == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("wandb/run-1/run-abc.wandb", "wandb"),
        ("runs/events.out.tfevents.1795371449.vm", "tensorboard"),
        ("out/checkpoint-20/trainer_state.json", "trainer-state"),
        ("version_0/metrics.csv", "lightning-csv"),
        ("train.log", None),
    ],
)
def test_an_empty_file_is_known_by_its_name(path: str, name: str | None) -> None:
    assert file_format(b"", path) == name


@pytest.mark.parametrize(
    "text", [b"step 1 | loss 2.0\n", b'{"step": 1, "loss": 2.0}\n', b"a,b,c\n1,2,3\n", b"\n", b"\0\0\0\n"]
)
def test_logs_and_other_files_are_none_of_these(text: bytes) -> None:
    assert file_format(text, "train.log") is None
    assert file_format(text, "notes.csv") is None


@formats
def test_every_sample_gives_steps_and_its_format(name: str) -> None:
    decoder = FILES[name]()
    assert decoder.format is None
    assert any(type(r) is Step for r in decode(decoder, SAMPLES[name]))
    assert decoder.format == name
    assert decoder.counts.lines >= decoder.counts.parsed > 0


@formats
def test_nothing_comes_of_nothing(name: str) -> None:
    decoder = FILES[name]()
    assert (decoder.feed(b""), decoder.end(), decoder.counts.lines) == ([], [], 0)


@formats
@pytest.mark.parametrize("other", FILES)
def test_a_file_that_goes_on_in_another_format_is_survived(name: str, other: str) -> None:
    half = SAMPLES[name][: len(SAMPLES[name]) // 2]
    decoder = FILES[name]()
    assert repr(decode(decoder, half + SAMPLES[other])) == repr(
        decode(FILES[name](), half + SAMPLES[other], range(0, 9999, 777))
    )


@formats
def test_a_state_of_another_version_is_refused(name: str) -> None:
    for state in ({}, {**FILES[name]().state(), "rows": {}}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            FILES[name]().restore(state)


@formats
def test_state_stays_small(name: str) -> None:
    decoder = FILES[name]()
    for at in range(0, len(SAMPLES[name]), 1000):
        decoder.feed(SAMPLES[name][at : at + 1000])
        assert len(json.dumps(decoder.state())) < 50_000


@formats
@settings(max_examples=40)
@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(0, 5000))
def test_garbage_between_good_bytes_raises_nothing(name: str, garbage: list[bytes], at: int) -> None:
    data = SAMPLES[name]
    decode(FILES[name](), data[:at] + b"".join(garbage) + data[at:][:3000])


@formats
def test_documentation_is_complete(name: str) -> None:
    cls = FILES[name]
    assert cls.name == name
    for text in (cls.title, cls.example, cls.versions, cls.reads, cls.smoothed, cls.limits):
        assert 3 < len(text) < 130
