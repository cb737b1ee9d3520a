"""What tests of decoders share: feeding in pieces, and comparing records that hold NaN."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from itertools import pairwise

from training_monitor.parse.base import Decoder
from training_monitor.records import Record, Steps


def decode(decoder: Decoder, data: bytes, cuts: Iterable[int] = ()) -> list[Record]:
    """All records of `data`, fed in pieces that end at `cuts`."""
    edges = [0, *sorted(c for c in cuts if 0 < c < len(data)), len(data)]
    records: list[Record] = []
    for a, b in pairwise(edges):
        records += one_by_one(decoder.feed(data[a:b]))
    return records + one_by_one(decoder.end())


def one_by_one(records: Iterable[Record]) -> list[Record]:
    """The same records with each step by itself."""
    return [r for record in records for r in (record if isinstance(record, Steps) else (record,))]


def assert_split_makes_no_difference(new: Callable[[], Decoder], data: bytes, tries: int = 5) -> list[Record]:
    """The records are the same in one piece, in random pieces, and with a restart from saved state at each cut."""
    whole = decode(new(), data)
    chance = random.Random(len(data))
    for _ in range(tries):
        cuts = [chance.randrange(len(data) + 1) for _ in range(chance.choice((1, 3, 40)))]
        assert repr(decode(new(), data, cuts)) == repr(whole)
        assert repr(decode_with_restarts(new, data, cuts)) == repr(whole)
    return whole


def decode_with_restarts(new: Callable[[], Decoder], data: bytes, cuts: Iterable[int]) -> list[Record]:
    """As `decode`, but every piece is read by a new decoder that goes on from the saved state of the one before."""
    edges = [0, *sorted(cuts), len(data)]
    decoder, records = new(), []
    for a, b in pairwise(edges):
        records += one_by_one(decoder.feed(data[a:b]))
        saved = json.loads(json.dumps(decoder.state()))
        decoder = new()
        decoder.restore(saved)
    return records + one_by_one(decoder.end())
