"""Where a pattern can take longer than linear time, told by its shape: a proof instead of a stop-watch.

A backtracking matcher needs quadratic time where two repeats without limit can share the same text: all that has to
stand between them can be matched by both, so that the border between them may lie anywhere. A search is such a repeat
of any byte in front of the pattern. A repeat of more than `MANY` is taken as one without limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

try:
    from re import _constants as op
    from re import _parser as parser
except ImportError:  # Python 3.10
    import sre_constants as op
    import sre_parse as parser

MANY = 512
ANY = frozenset(range(256))


class Part(NamedTuple):
    """A stretch of one set of bytes."""

    bytes: frozenset[int]
    low: int
    high: int


def slow_pairs(pattern: re.Pattern[bytes], *, is_searched: bool) -> list[tuple[Part, Part]]:
    """Pairs of repeats that can share their text; none if the time is linear in the length of a line."""
    scan = [Part(ANY, 0, 1 << 30)] if is_searched else []
    found = []
    for parts in _sequences(parser.parse(pattern.pattern, pattern.flags)):
        every = scan + parts
        long = [i for i, part in enumerate(every) if part.high > MANY]
        for i, j in combinations(long, 2):
            if not any(part.low for part in every[j + 1 :]):
                continue  # nothing behind it can fail, so that nothing is tried again
            common = every[i].bytes & every[j].bytes
            between = [part.bytes for part in every[i + 1 : j] if part.low and part.high]
            if common and all(part & common for part in between):
                found.append((every[i], every[j]))
    return found


def _sequences(tree: Any) -> Iterator[list[Part]]:
    """The pattern without branches: every way through it, a repeated group taken twice."""
    ways: list[list[Part]] = [[]]
    for kind, value in tree:
        ways = [way + more for way in ways for more in _parts(kind, value)]
    yield from ways


def _parts(kind: Any, value: Any) -> list[list[Part]]:
    if kind is op.BRANCH:
        return [way for branch in value[1] for way in _sequences(branch)]
    if kind is op.SUBPATTERN:
        return list(_sequences(value[3]))
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
        return _repeated(*value)
    if kind in (op.AT, op.ASSERT, op.ASSERT_NOT):
        return [[Part(frozenset(), 1, 0)]]  # takes nothing and may fail
    return [[Part(_bytes(kind, value), 1, 1)]]


def _repeated(low: int, high: Any, tree: Any) -> list[list[Part]]:
    inner = list(_sequences(tree))
    if all(len(way) == 1 and way[0][1:] == (1, 1) for way in inner):
        return [[Part(frozenset().union(*(way[0].bytes for way in inner)), low, int(high))]]
    never = [] if low else [[]]
    if high == 1:
        return never + inner
    return never + [one + other for one in inner for other in inner]


def _bytes(kind: Any, value: Any) -> frozenset[int]:
    """What one place of the pattern matches."""
    if kind is op.LITERAL:
        return frozenset((value, ord(chr(value).swapcase())))
    if kind is op.NOT_LITERAL:
        return ANY - {value}
    if kind is op.ANY:
        return ANY - {10}
    assert kind is op.IN, kind
    members: set[int] = set()
    for inner, what in value:
        if inner is op.LITERAL:
            members.add(what)
        elif inner is op.RANGE:
            members |= set(range(what[0], what[1] + 1))
        elif inner is op.CATEGORY:
            members |= _category(what)
    return ANY - members if value[0][0] is op.NEGATE else frozenset(members)


def _category(what: Any) -> frozenset[int]:
    letters = {op.CATEGORY_DIGIT: rb"\d", op.CATEGORY_SPACE: rb"\s", op.CATEGORY_WORD: rb"\w"}
    letters |= {op.CATEGORY_NOT_DIGIT: rb"\D", op.CATEGORY_NOT_SPACE: rb"\S", op.CATEGORY_NOT_WORD: rb"\W"}
    return frozenset(b for b in ANY if re.match(letters[what], bytes([b])))
