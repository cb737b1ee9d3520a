"""What must hold for any input of a decoder: nothing is raised, no split matters, what is kept is bounded."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from zlib import crc32

from decoding import decode, decode_with_restarts
from training_monitor.expose.render import Renderer
from training_monitor.expose.view import View
from training_monitor.parse.base import Decoder
from training_monitor.records import Record, Step
from training_monitor.run import Run, restore, state_of

MAX_STATE = 1 << 20  # characters of the state of a decoder of one small input
REPEATS = 24  # times that an input comes again where growth is looked for
NOW = 1.8e9


def check_decoder(new: Callable[[], Decoder], data: bytes) -> list[Record]:
    """The records of `data`: the same in one piece as in pieces, or with a restart from saved state at each cut."""
    whole = decode(new(), data)
    chance = random.Random(crc32(data))
    cuts = [chance.randrange(len(data) + 1) for _ in range(3)]
    if crc32(data) % 2:
        assert repr(decode(new(), data, cuts)) == repr(whole), f"cut at {sorted(cuts)}"
    else:
        assert repr(decode_with_restarts(new, data, cuts)) == repr(whole), f"restarted at {sorted(cuts)}"
    for record in whole:
        if type(record) is Step:
            assert type(record.step) is int
            assert 0 <= record.step < 2**53
    if crc32(data) % 16 == 0:
        check_growth(new(), data)
    return whole


def check_growth(decoder: Decoder, data: bytes) -> None:
    """What is kept does not grow with what was read: the same input again and again adds nothing for ever."""
    sizes = []
    for _ in range(2):
        for _ in range(REPEATS):
            decoder.feed(data)
        sizes.append(len(json.dumps(decoder.state())))
    assert sizes[1] <= max(MAX_STATE, sizes[0]), f"the state grew from {sizes[0]} to {sizes[1]}"


def check_run(records: list[Record]) -> None:
    """A run takes any records: it is shown, saved and restored, and goes on as if nothing had happened.

    Of every fourth input only: it takes longer than all the rest.
    """
    if crc32(repr(records[:4]).encode()) % 4:
        return
    run = Run("run", "source")
    run.feed(records, NOW)
    run.tick(NOW + 100)
    again = Run("run", "source")
    restore(again, json.loads(saved := json.dumps(state_of(run))))
    assert json.dumps(state_of(again)) == saved
    for one in (run, again):
        one.feed(records[:3], NOW + 200)
        one.tick(NOW + 1e5)
    assert json.dumps(state_of(again)) == json.dumps(state_of(run))
    snapshot = run.snapshot(NOW + 1e5)
    Renderer(lambda: View([snapshot])).render(openmetrics=True)
