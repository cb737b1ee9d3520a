"""Draws the pictures of docs/detection.md from shipped data: curves with the alarms marked."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from curves import between, curve, nanochat
from training_monitor.detect.engine import Engine
from training_monitor.records import Event, Severity, Step

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 260, 52, 30, 12, 28
COLOURS = {"notice": "#8a8a8a", "warning": "#c77700", "critical": "#c62828"}
Point = tuple[float, float]


@dataclass
class Picture:
    """A plot as SVG: lines, marks of events, and shaded spans."""

    title: str
    lines: list[tuple[list[Point], str, str, float]] = field(default_factory=list)  # points, colour, label, width
    marks: list[tuple[Event, float]] = field(default_factory=list)  # event, y
    spans: list[tuple[float, float]] = field(default_factory=list)

    def svg(self, low: float, high: float) -> str:
        first = min(p[0] for line in self.lines for p in line[0])
        last = max(p[0] for line in self.lines for p in line[0])

        def x(v: float) -> float:
            return round(LEFT + (v - first) / (last - first) * (WIDTH - LEFT - RIGHT), 1)

        def y(v: float) -> float:
            v = min(max(v, low), high)
            return round(HEIGHT - BOTTOM - (v - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'font-family="sans-serif" font-size="11">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            f'<text x="{LEFT}" y="16" font-size="13" fill="#222">{escape(self.title)}</text>',
        ]
        for a, b in self.spans:
            size = f'width="{max(1, x(b) - x(a)):.1f}" height="{HEIGHT - TOP - BOTTOM}"'
            out.append(f'<rect x="{x(a)}" y="{TOP}" {size} fill="#f4d7d7"/>')
        for i in range(5):
            v = low + (high - low) * i / 4
            out.append(f'<path d="M{LEFT} {y(v)}H{WIDTH - RIGHT}" stroke="#e4e4e4"/>')
            out.append(f'<text x="{LEFT - 6}" y="{y(v) + 4}" text-anchor="end" fill="#555">{v:.3g}</text>')
        apart = next(a for a in (50, 100, 200, 500, 1000, 2000) if (last - first) / a <= 8)
        for tick in range(-int(-first // apart) * apart, int(last) + 1, apart):
            out.append(f'<text x="{x(tick)}" y="{HEIGHT - 10}" text-anchor="middle" fill="#555">{tick}</text>')
        right = WIDTH - RIGHT
        for points, colour, label, width in reversed(self.lines):
            path = " ".join(f"{x(a)},{y(b)}" for a, b in points)
            out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
            out.append(f'<text x="{right}" y="16" text-anchor="end" fill="{colour}">{escape(label)}</text>')
            right -= 7 * len(label) + 14
        for event, value in self.marks:
            colour, at = COLOURS[event.severity.label], x(event.step or 0)
            title = f"<title>{escape(event.message)}</title>"
            out.append(f'<path d="M{at} {TOP}V{HEIGHT - BOTTOM}" stroke="{colour}" stroke-dasharray="3 3"/>')
            out.append(f'<circle cx="{at}" cy="{y(value)}" r="4" fill="{colour}">{title}</circle>')
            out.append(f'<text x="{at + 5}" y="{TOP + 11}" fill="{colour}">{event.severity.label} {event.step}</text>')
        return "\n".join([*out, "</svg>"]) + "\n"


def thinned(points: list[Point], most: int = 700) -> list[Point]:
    """The points, or the lowest and highest of each few: no spike is lost."""
    if len(points) <= most:
        return points
    size = 2 * len(points) // most + 1
    kept = []
    for i in range(0, len(points), size):
        part = points[i : i + size]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return kept


def worth(steps: list[Step], kinds: tuple[str, ...], value: str) -> list[tuple[Event, float]]:
    """The warnings and criticals of these kinds, each at the value of its step."""
    values = {s.step: getattr(s, value) for s in steps}
    found = [e for e in Engine().update(steps) if e.kind in kinds and e.severity >= Severity.WARNING]
    return [(e, values[e.step or 0]) for e in found]


def spike() -> str:
    steps = [s for s in nanochat("base_train_spike") if 380 <= s.step <= 1000 or s.step < 380]
    own = [(s.step, s.raw_loss) for s in steps if s.raw_loss is not None and 350 <= s.step <= 1050]
    shown = [(s.step, s.loss) for s in steps if s.loss is not None and 350 <= s.step <= 1050]
    marks = [m for m in worth(steps, ("loss_spike",), "raw_loss") if m[0].severity == Severity.WARNING]
    picture = Picture("nanochat: junk documents at steps 466–505 and 908–917")
    picture.lines = [
        (thinned(own), "#90b4d8", "the step's own loss", 1),
        (thinned(shown), "#1f4e79", "as printed", 1.5),
    ]
    picture.marks = marks
    return picture.svg(4, 10)


def slow() -> str:
    steps = nanochat("base_train_slow")
    points = [(s.step, s.step_time_s) for s in steps if s.step_time_s is not None and s.step >= 20]
    picture = Picture("nanochat: a busy neighbour at steps 223–260 and 360–369")
    picture.lines = [(points, "#1f4e79", "step time, s", 1)]
    picture.marks = worth(steps, ("slowdown",), "step_time_s")
    return picture.svg(0, 1.2)


def late() -> str:
    steps = curve(3000, 4, change=between(2600, 2620, 1.24))
    points = [(s.step, s.loss) for s in steps if s.loss is not None]
    last: deque[float] = deque(maxlen=100)
    limit = []
    for step, loss in points:
        last.append(loss)
        limit.append((step, 1.5 * sum(last) / len(last)))
    picture = Picture("a late spike by a quarter (seeded)")
    picture.lines = [
        (thinned([p for p in points if p[0] >= 1500]), "#1f4e79", "loss", 1),
        ([p for p in limit if p[0] >= 1500][::10], "#b0b0b0", "1.5x mean of 100: never reached", 1.5),
    ]
    picture.marks = worth(steps, ("loss_spike",), "loss")
    return picture.svg(2.2, 4.2)


def plateau() -> str:
    def healthy(step: float) -> float:
        return 2.0 + 8.0 * (step + 20) ** -0.35

    steps = curve(9000, 2, change=lambda i, y: y if i < 6000 else y * healthy(6000) / healthy(i))
    points = [(s.step, s.loss) for s in steps if s.loss is not None]
    means = [sum(loss for _, loss in points[i - 50 : i]) / 50 for i in range(50, len(points))]
    ill = [i + 50 for i in range(500, len(means)) if means[i] > 0.99 * means[i - 500]]
    picture = Picture("a trend that stops at step 6000 (seeded); shaded: “no 1 % in 500 steps” alone")
    picture.spans = [(a, b) for a, b in _spans(ill) if b > 1500]
    picture.lines = [(thinned([p for p in points if p[0] >= 1500]), "#1f4e79", "loss", 1)]
    picture.marks = worth(steps, ("plateau",), "loss")
    return picture.svg(2.2, 3.0)


def _spans(points: list[int]) -> list[tuple[float, float]]:
    spans: list[tuple[float, float]] = []
    for p in points:
        if spans and p - spans[-1][1] <= 5:
            spans[-1] = (spans[-1][0], p)
        else:
            spans.append((max(p, 1500), p))
    return spans


def draw(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for make in (spike, slow, late, plateau):
        path = folder / f"detection-{make.__name__}.svg"
        path.write_text(make(), encoding="utf-8")
        print(path.name, path.stat().st_size, "bytes")
