"""Numbers as people read them. What is not known is "unknown", never 0."""

from __future__ import annotations

import math
from datetime import datetime, timezone

from training_monitor.report.terminal import clean

UNKNOWN = "unknown"


def count(value: float | None) -> str:
    """Whole numbers with thousands separators: 8,349."""
    return UNKNOWN if value is None else f"{value:,.0f}" if math.isfinite(value) else str(value)


def loss(value: float | None) -> str:
    """Four decimals, or four digits where that shows too little: 2.6896, 1.234e-05."""
    if value is None:
        return UNKNOWN
    return f"{value:.4f}" if not math.isfinite(value) or value == 0 or 1e-2 <= abs(value) < 1e5 else f"{value:.4g}"


def rate(value: float | None) -> str:
    """Learning rates: 0.0003, 6e-05."""
    return UNKNOWN if value is None else f"{value:.3g}"


def percent(ratio: float | None, digits: int = 1) -> str:
    """A ratio as percent: 51.1 %."""
    return UNKNOWN if ratio is None else f"{100 * ratio:.{digits}f} %"


def change(now: float | None, before: float | None) -> str | None:
    """The relative change with its sign: +2.2 %, −0.4 %; None where either is not known."""
    if now is None or not before or not math.isfinite(now / before):
        return None
    return f"{100 * (now / before - 1):+.1f} %".replace("-", "−")


def seconds(value: float | None) -> str:
    """A short time: 641 ms, 12.3 s, 3 min 20 s."""
    if value is None or not math.isfinite(value):
        return UNKNOWN if value is None else str(value)
    if value < 1:
        return f"{1000 * value:.3g} ms"
    return f"{value:.3g} s" if value < 100 else duration(value)


def duration(value: float | None) -> str:
    """A long time in its two largest units: 45 s, 1 h 29 min, 3 d 4 h."""
    if value is None or not math.isfinite(value):
        return UNKNOWN if value is None else str(value)
    smallest = 1 if value < 3600 else 60 if value < 86400 else 3600
    minutes, rest = divmod(round(value / smallest) * smallest, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts = parts[1:]
    return " ".join(f"{n} {unit}" for i, (n, unit) in enumerate(parts[:2]) if n or not i)


def words(kind: str) -> str:
    """A kind of anomaly or pause as words: loss spike."""
    return clean(kind).replace("_", " ")


def money(value: float | None, currency: str = "USD") -> str:
    """$84.20, $1,204; other currencies by their code."""
    if value is None:
        return UNKNOWN
    digits = f"{value:,.2f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"${digits}" if currency == "USD" else f"{digits} {currency}"


def moment(unix_s: float) -> str:
    """A time of day in UTC: 2026-11-22 19:30 UTC."""
    try:
        return datetime.fromtimestamp(unix_s, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, OSError, ValueError):
        return UNKNOWN
