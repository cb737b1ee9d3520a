"""Prints the pages that Alertmanager sends: a receiver that needs no account. `docker compose logs -f receiver`

python stack/receiver.py [HOST:PORT]        default: 127.0.0.1:10043; GET / answers ok for health checks
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_BYTES = 4 << 20
RULE = "─" * 100


def lines(page: dict[str, Any]) -> Iterator[str]:
    """What a person reads of a page (Alertmanager's webhook JSON): what, since when, how bad, what to do, where."""
    for alert in page["alerts"]:
        labels, said = alert["labels"], alert["annotations"]
        what, how = said.get("summary", labels["alertname"]), labels.get("severity", "unknown")
        if alert["status"] == "resolved":
            yield f"✔ RESOLVED  {what}  ({how}, {clock(alert['startsAt'])} to {clock(alert['endsAt'])} UTC)"
            continue
        yield f"✖ {how.upper()}  {what}  ({labels['alertname']}, since {clock(alert['startsAt'])} UTC)"
        yield from (f"  {line}" for line in said.get("description", "").splitlines())
        yield from (f"  → {line}" for line in said.get("action", "").splitlines())
        yield from (f"  {said[link]}" for link in ("dashboard_url", "runbook_url") if link in said)


def clock(moment: str) -> str:
    """`03:04:05` of `2026-11-22T03:04:05.123Z`."""
    return moment[11:19]


def printable(line: str) -> str:
    """Without control characters: names in it come from logs."""
    return "".join(c if c.isprintable() else " " for c in line)


def show(page: dict[str, Any]) -> None:
    """Prints a page."""
    print("\n".join([RULE, *map(printable, lines(page))]), flush=True)


class Handler(BaseHTTPRequestHandler):
    """Takes pages; answers health checks. What is no page is refused and survived."""

    timeout = 10
    on_page: Callable[[dict[str, Any]], None] = staticmethod(show)

    def do_POST(self) -> None:
        try:
            size = int(self.headers.get("Content-Length", "0"))
            page = json.loads(self.rfile.read(size) if 0 < size <= MAX_BYTES else b"")
            list(lines(page))
        except (ValueError, KeyError, TypeError, AttributeError):
            self.answer(400)
            return
        try:
            self.on_page(page)
        except OSError:  # not shown, so not taken: Alertmanager tries again
            self.answer(503)
        else:
            self.answer(200)

    def do_GET(self) -> None:
        self.answer(200)

    def answer(self, status: int) -> None:
        body = {200: b"ok\n", 400: b"not a page of Alertmanager\n"}.get(status, b"try again\n")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Health checks are no news."""


def receiver(host: str, port: int, on_page: Callable[[dict[str, Any]], None] = show) -> ThreadingHTTPServer:
    """A server that hands pages to `on_page`; raises OSError if the port is taken."""
    handler = type("Receiver", (Handler,), {"on_page": staticmethod(on_page)})
    return ThreadingHTTPServer((host, port), handler)


def main(argv: list[str]) -> int:
    host, _, port = (argv[0] if argv else "127.0.0.1:10043").rpartition(":")
    with receiver(host, int(port)) as server, contextlib.suppress(KeyboardInterrupt):
        print(f"Pages appear here (receiver on {host}:{port}).", flush=True)
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
