"""What the web server says: pages as functions of the request, without sockets.

/            names the exporter and lists the runs
/metrics     text 0.0.4 or OpenMetrics 1.0, gzip; `?name[]=` picks families; 503 until the first catch-up is done
/-/healthy   200 while the process answers
/-/ready     200 once /metrics answers, else 503
"""

from __future__ import annotations

import html
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from training_monitor import __version__
from training_monitor.expose.render import OPENMETRICS, TEXT, Renderer, wants_openmetrics
from training_monitor.expose.view import View
from training_monitor.records import Snapshot

PLAIN = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
METHODS = ("GET", "HEAD")
MAX_ROWS = 200  # runs on the landing page
NOT_READY = "Not ready: the logs are being read for the first time.\n"


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. `headers` go out as they are, so they hold no text from a request or a log."""

    status: int
    body: bytes
    content_type: str = PLAIN
    headers: Mapping[str, str] = field(default_factory=dict)


class Site:
    """Answers requests from the present view."""

    def __init__(self, view: Callable[[], View]) -> None:
        self._view = view
        self._renderer = Renderer(view)
        self._pages: dict[str, Callable[[str, Mapping[str, str]], Response]] = {
            "/": self._landing,
            "/metrics": self._metrics,
            "/-/healthy": lambda query, headers: text(200, "Healthy.\n"),
            "/-/ready": self._ready,
        }

    def answer(self, method: str, target: str, headers: Mapping[str, str]) -> Response:
        """`target`: as in the request line; `headers`: lower-case names."""
        if method not in METHODS:
            return text(405, "Only GET and HEAD.\n", {"Allow": ", ".join(METHODS)})
        try:
            url = urlsplit(target)
        except ValueError:
            return text(400, "Not a valid address.\n")
        page = self._pages.get(url.path)
        return text(404, "Not found. Try /metrics.\n") if page is None else page(url.query, headers)

    def _metrics(self, query: str, headers: Mapping[str, str]) -> Response:
        if not self._view().ready:
            return text(503, NOT_READY, {"Retry-After": "5"})
        try:
            names = frozenset(parse_qs(query, max_num_fields=1000).get("name[]", ()))
        except ValueError:
            return text(400, "Too many fields in the query.\n")
        openmetrics = wants_openmetrics(headers.get("accept", ""))
        body = self._renderer.render(openmetrics=openmetrics, names=names)
        extra = {"Vary": "Accept, Accept-Encoding"}
        if _takes_gzip(headers.get("accept-encoding", "")):
            body = _gzip(body)
            extra["Content-Encoding"] = "gzip"
        return Response(200, body, OPENMETRICS if openmetrics else TEXT, extra)

    def _ready(self, query: str, headers: Mapping[str, str]) -> Response:
        return text(200, "Ready.\n") if self._view().ready else text(503, NOT_READY, {"Retry-After": "5"})

    def _landing(self, query: str, headers: Mapping[str, str]) -> Response:
        return Response(200, landing(self._view()).encode(), HTML)


def text(status: int, body: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(status, body.encode(), PLAIN, headers or {})


def _takes_gzip(accept_encoding: str) -> bool:
    for part in accept_encoding.split(","):
        coding, _, parameters = part.partition(";")
        if coding.strip().lower() == "gzip":
            return parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _gzip(body: bytes) -> bytes:
    """Level 1: 1,000 runs take 13 ms and 5 % of the size; level 9 would take 150 ms for 4 %."""
    packer = zlib.compressobj(level=1, wbits=31)
    return packer.compress(body) + packer.flush()


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>training-monitor</title>
<style>body{{font-family:sans-serif;margin:2em}}td,th{{padding:.2em 1em .2em 0;text-align:left}}</style></head>
<body><h1>training-monitor {version}</h1>
<p>Watches LLM training runs from their logs. {ready}</p>
<p><a href="/metrics">Metrics</a> · <a href="/-/healthy">Health</a> · <a href="/-/ready">Readiness</a></p>
<table><tr><th>run</th><th>state</th><th>step</th><th>loss</th><th>anomalies</th></tr>
{rows}</table>
{more}</body></html>
"""


def landing(view: View) -> str:
    """The page at `/`. Everything that comes from a log is escaped."""
    hidden = len(view.snapshots) - MAX_ROWS
    return _PAGE.format(
        version=__version__,
        ready="" if view.ready else NOT_READY,
        rows="".join(_row(s) for s in view.snapshots[:MAX_ROWS]),
        more=f"<p>… and {hidden} more.</p>\n" if hidden > 0 else "" if view.snapshots else "<p>No run yet.</p>\n",
    )


def _row(s: Snapshot) -> str:
    step = "" if s.step is None else f"{s.step}" if s.total_steps is None else f"{s.step} / {s.total_steps}"
    anomalies = ", ".join(f"{kind} ({severity.label})" for kind, severity in s.active.items())
    cells = (s.run, s.state, step, "" if s.loss is None else f"{s.loss:.4f}", anomalies)
    return "<tr>" + "".join(f"<td>{_escaped(cell)}</td>" for cell in cells) + "</tr>\n"


def _escaped(value: str) -> str:
    return html.escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value[:200]))
