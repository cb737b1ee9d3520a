"""Everything that reads bytes it did not write, and what must hold for any bytes. See `fuzz.py` and `test_fuzz.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from fuzz import edges
from fuzz.properties import check_decoder, check_run
from training_monitor.parse.base import Counts
from training_monitor.parse.files import FILES
from training_monitor.parse.lines import MAX_LINE, Lines
from training_monitor.parse.prefix import stages
from training_monitor.parse.registry import FORMATS, open_decoder

DATA = Path(__file__).parents[1] / "data"
REGEX = (r"it (?P<step>\d+) of (?P<total_steps>\d+) L=(?P<loss>\S+)", r"(?P<step>\d+)(?:(a|a|ab)+b?)+(?P<loss>[^x]*)x")
SEED = 1536  # bytes of a sample with which mutation begins: fast enough to be tried some hundred times a second


class Target(NamedTuple):
    """`check` raises for bytes that are dealt with wrongly; `seeds` are real inputs."""

    check: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]


def lines(data: bytes) -> None:
    """Lines do not depend on the split, and are never longer than they may be."""
    counts = Counts()
    whole, one = Lines(counts), Lines(Counts())
    found = [*zip(*whole.feed(data), strict=True), *zip(*whole.end(), strict=True)]
    middle = len(data) // 3
    pieces: list[tuple[int, bytes]] = []
    for a, b in pairwise((0, middle, 2 * middle, len(data))):
        pieces += zip(*one.feed(data[a:b]), strict=True)
    pieces += zip(*one.end(), strict=True)
    assert all(len(line) <= MAX_LINE for _, line in found)
    assert [p for p in found if p[1]] == [p for p in pieces if p[1]]


def text(data: bytes) -> None:
    """Any log, its format found out, all the way to /metrics."""
    check_run(check_decoder(partial(open_decoder, b""), data))


def named(name: str, data: bytes) -> None:
    """One format: each line by itself, then the whole by a decoder that was told the format."""
    fmt = FORMATS[name]()
    for number, line in enumerate(data.split(b"\n")[:50]):
        for stage in stages(line):
            before = repr(fmt.state())
            try:
                records = fmt.parse(stage.rest, number, stage.time)
            except (ValueError, OverflowError):
                continue
            if records is None and not fmt.state().get("held"):
                assert repr(fmt.state()) == before or name == "hf-trainer", "a line that is not ours changed something"
    check_run(check_decoder(partial(open_decoder, b"", format=name), data))


def user_regex(data: bytes) -> None:
    decoder = open_decoder(b"", regex=REGEX)
    decoder.feed(data)
    decoder.end()


def whole_file(name: str, data: bytes) -> None:
    """A file of its own format, then the same written anew."""
    check_run(check_decoder(FILES[name], data))
    decoder = FILES[name]()
    decoder.feed(data)
    if getattr(decoder, "rewrites", False):
        decoder.replaced()  # type: ignore[attr-defined]
        decoder.feed(data)


def starts(*patterns: str) -> Callable[[], Sequence[bytes]]:
    """The first bytes of the samples that match."""
    return lambda: [p.read_bytes()[:SEED] for pattern in patterns for p in sorted(DATA.glob(pattern))]


def samples() -> Sequence[bytes]:
    return starts("formats/*.log", "nanochat/*.log", "hf/*.log")()


def of_format(name: str) -> Callable[[], Sequence[bytes]]:
    return lambda: [FORMATS[name].example.encode() + b"\n", *starts(f"formats/{name}.log")()]


TARGETS: Mapping[str, Target] = {
    "lines": Target(lines, samples),
    "text": Target(text, samples),
    **{name: Target(partial(named, name), of_format(name)) for name in FORMATS},
    "user-regex": Target(user_regex, lambda: [b"ep 3 it 12 of 50 L=3.2\n1aab\n", b"1" + b"ab" * 30 + b"\n"]),
    "wandb-file": Target(partial(whole_file, "wandb"), starts("wandb/*.wandb")),
    "tfevents": Target(partial(whole_file, "tensorboard"), starts("tfevents/*.tfevents")),
    "trainer-state": Target(partial(whole_file, "trainer-state"), starts("hf/*.json")),
    "csv": Target(partial(whole_file, "lightning-csv"), starts("lightning/*.csv")),
    "trackio": Target(edges.database, edges.trackio),
    "mlflow": Target(edges.database, edges.mlflow),
    "config": Target(edges.configuration, edges.configurations),
    "web-config": Target(edges.web_configuration, edges.web_configurations),
    "http": Target(edges.request, edges.requests),
    "state-file": Target(edges.state_file, edges.state_files),
    "state-values": Target(edges.state_values, edges.changes),
}
