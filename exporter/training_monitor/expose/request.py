"""One HTTP request on a socket: read by the standard library's parser, within a limit, and answered once."""

from __future__ import annotations

import io
import logging
import socket
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler
from typing import Any

from training_monitor.expose.site import Response, text

log = logging.getLogger(__name__)

#: Sent with every answer unless the web configuration says otherwise.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "deny",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
#: Smaller bodies go out together with the header.
MAX_JOINED = 64 * 1024


class Request(BaseHTTPRequestHandler):
    """One request, read by the standard library's parser; `complete` is False if it was refused at once."""

    protocol_version = "HTTP/1.1"

    def __init__(self, sock: socket.socket, peer: str, header_bytes: int) -> None:
        self.client_address = (peer, 0)
        self.sock = sock
        self.rfile = io.BufferedReader(_Limited(sock, header_bytes))
        self.headers = HTTPMessage()
        self._head = self.wfile = io.BytesIO()
        self.close_connection = True
        self.complete = False
        self._read()

    def _read(self) -> None:
        self.requestline, self.request_version, self.command = "", "HTTP/1.1", ""
        try:
            self.raw_requestline = self.rfile.readline()
            if self.raw_requestline and self.parse_request():
                self.complete = self.request_version != "HTTP/0.9"
        except _TooLargeError:
            self.send_error(431)

    def send(self, response: Response, headers: Mapping[str, str]) -> None:
        """Sends the answer, with `headers` in place of ours, and nothing after it."""
        self.send_response(response.status)
        length = {"Content-Type": response.content_type, "Content-Length": str(len(response.body))}
        for name, value in {**SECURITY_HEADERS, **headers, **response.headers, **length}.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        body = b"" if self.command == "HEAD" else response.body
        self.sock.sendall(self._head.getvalue() + body if len(body) < MAX_JOINED else self._head.getvalue())
        if len(body) >= MAX_JOINED:
            self.sock.sendall(body)
        self._drain()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the parser says to what is no request. Repeats nothing of it."""
        self.command, self.request_version = "", self.protocol_version  # an answer to HTTP/0.9 would have no header
        self.send(text(code, f"{HTTPStatus(code).phrase}.\n"), {})

    def _drain(self) -> None:
        """Takes a request's body, unread: closing over unread data would take the answer away from the client."""
        if "Content-Length" not in self.headers and "Transfer-Encoding" not in self.headers:
            return
        self.sock.shutdown(socket.SHUT_WR)
        for _ in range(16):
            if not self.sock.recv(65536):
                break

    def version_string(self) -> str:
        return "training-monitor"

    def log_message(self, format: str, *args: Any) -> None:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("web client %s: %r", self.client_address[0], format % args)


class _TooLargeError(Exception):
    """The request header is larger than allowed."""


class _Limited(io.RawIOBase):
    """Reads a socket up to so many bytes."""

    def __init__(self, sock: socket.socket, left: int) -> None:
        self._sock = sock
        self._left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left <= 0:
            raise _TooLargeError
        n = self._sock.recv_into(buffer, min(len(buffer), self._left))
        self._left -= n
        return n
