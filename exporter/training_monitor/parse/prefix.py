"""What launchers, loggers and terminals write in front of a trainer's line.

Times count only where the prefix tells the zone: seconds since 1970, or ISO 8601 with `Z` or an offset. The others are
local to a machine that the log does not name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from training_monitor.moments import unix_seconds

_DATE = rb"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
_BRACKETS = rb"(?: ?\[[^\[\]]{0,120}\]){0,4}"  # [INFO] [logging.py:96:log_dist] [Rank 0]

_UNIX = re.compile(rb"(\d{9,10}(?:\.\d{1,9})?) ")
_ZONED = re.compile(rb"(" + _DATE + rb")(Z|[+-]\d\d:?\d\d) (?:stdout F |stderr F )?")
_RANK = re.compile(rb" *\[[A-Za-z_]{0,20}(\d{1,5})\]:? ?|(\d{1,5}): |\[\d{1,5}:(\d{1,5})\]: ?")
_OTHER = re.compile(
    _DATE + rb"\t[^\t]{0,120}\t[^\t]{0,120}\t[A-Z]+\t"  # OLMo
    rb"|\[?" + _DATE + rb"\]? ?(?:"
    rb"(?:- [\w.\-/:]{1,80} ){0,3}- "  # 2026-02-01 20:37:26,202 - nanochat.common - INFO -
    rb"|\| ?[A-Z]+ *\| ?[^|]{0,120} - "  # loguru
    rb"|" + _BRACKETS + rb" *(?:- )?"  # [2024-04-02 01:59:46][INFO][trainer:837] -
    rb")(?:[A-Z]{4,8} +(?:\[[^\[\]]{0,120}\] )?)?"  # rich: INFO     [olmo.train:816, rank=0]
    rb"|\[?[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6,9} +(?:\d{1,20} )?[^\]\s]{1,400}\] ?"  # glog
    rb"|\d\d/\d\d(?:/\d{2,4})? \d\d:\d\d:\d\d (?:\[[^\[\]]{0,120}\]: |(?:- [^ ]{1,80} +){1,3}- +)"  # nanotron, HF
    rb"|\[(?:INFO|WARNING|ERROR|DEBUG)\|[^\[\]]{0,120}\] " + _DATE + rb" >> "  # transformers
    rb"|\((?:\w+ )?pid=\d+(?:, ip=[\d.]+)?\) "  # Ray
    rb"|\[(?:titan|[A-Za-z]{1,20}\d{0,4})\] (?=" + _DATE + rb")"  # torchtitan
    rb"|(?:INFO|WARNING|ERROR|DEBUG):[\w.\-]{1,80}:"  # logging.basicConfig
    rb"|[A-Za-z][A-Za-z_.\-]{0,60}\d[\w.\-]{0,60}: (?! )"  # pdsh: gpu250:
    rb"|\d{1,9}\] "  # a viewer's line number
)
#: A progress bar with text behind it.
_BAR = re.compile(rb"[^|\r]{0,80}?\d{1,3}%\|[^|]{0,200}\| *[\d.]+[kMG]?/[\d.?]+[kMG]? \[[^\[\]]{0,400}\] ?(?=[^\s])")


class Prefix(NamedTuple):
    """What has been split off so far, and the rest of the line."""

    rest: bytes
    time: float | None  # unix seconds
    rank: int | None


def stages(line: bytes) -> Iterator[Prefix]:
    """The line itself, then without its first prefix, without its first two, … at most eight of them.

    Trying the formats from the longest text on keeps a format that looks like a prefix (`step:  3  loss: …`) whole.
    """
    time: float | None = None
    rank: int | None = None
    rest = line.strip()
    yield Prefix(rest, time, rank)
    for _ in range(8):
        if match := _UNIX.match(rest):
            time = float(match[1])
        elif match := _ZONED.match(rest):
            time = _seconds(match[1], match[2])
        elif match := _RANK.match(rest):
            rank = int(match[match.lastindex or 1])
        elif not (match := _OTHER.match(rest)) and not (b"%|" in rest and (match := _BAR.match(rest))):
            return
        rest = rest[match.end() :].lstrip()
        yield Prefix(rest, time, rank)


def _seconds(date: bytes, zone: bytes) -> float | None:
    return unix_seconds((date + zone).decode())
