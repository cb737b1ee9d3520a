"""Moments as text, as logs and services write them."""

from __future__ import annotations

import re
from datetime import datetime

_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\s?(?:(Z)|([+-]\d\d):?(\d\d))?", re.ASCII)


def unix_seconds(text: str) -> float | None:
    """Unix seconds of an ISO 8601 moment, UTC if it names no zone; None if it is none.

    Python 3.10's own reader takes neither `Z` nor a fraction of other than 3 or 6 digits.

    >>> unix_seconds("2026-11-22T18:05:10.5Z"), unix_seconds("2026-11-22 18:05:10,123456789+0130")
    (1795370710.5, 1795365310.1234567)
    """
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    day, clock, fraction, _, hours, minutes = match.groups()
    try:
        seconds = datetime.fromisoformat(f"{day} {clock}{hours or '+00'}:{minutes or '00'}").timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds + (float(f"0.{fraction}") if fraction else 0.0)
