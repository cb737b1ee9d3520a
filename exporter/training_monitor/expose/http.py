"""The web server: one thread that accepts, one thread for each connection, one request for each connection.

Why the standard library's request parser on sockets of our own, and not cheroot: cheroot makes the TLS handshake in
the thread that accepts (one client that stays silent in it holds up everyone), gives a slow client a fresh timeout for
every byte, and takes 65 ms to import. http.server is loaded by prometheus_client anyway.

Slow clients cannot use it up: a header has to be there after `header_s`, an answer taken after `answer_s`, both
counted from the connect; the accepting thread cuts connections that take longer. When every place is taken, the oldest
one that has not asked for anything gives way: a scraper asks at once, so that no number of silent clients keeps it out.
If all have asked, the oldest that has had its second does. Files are read again when they change (`web_config`).
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from training_monitor.expose import addresses
from training_monitor.expose.guard import Guard, Rules
from training_monitor.expose.request import Request
from training_monitor.expose.site import Response, Site, text
from training_monitor.expose.view import View

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may take. Times in seconds from the connect."""

    connections: int = 32
    header_s: float = 5.0  # TLS handshake and request header
    answer_s: float = 30.0  # all of it; not less than header_s
    header_bytes: int = 16 * 1024
    grace_s: float = 1.0  # so long no newer connection pushes one out that has asked
    stop_s: float = 0.5  # what is being answered at the stop may take so long to end


#: After so many seconds what should have been cut is cut again, or accepting is tried again.
RETRY_S = 0.1


class WebServer:
    """Serves metrics and pages on every address until it is stopped."""

    def __init__(
        self,
        listen_addresses: Sequence[str],
        view: Callable[[], View],
        *,
        web_config: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Raises ConfigError if the web configuration is wrong."""
        self._wanted = list(listen_addresses)
        self.site = Site(view)
        self.guard = Guard(web_config)
        self.limits = limits or Limits()
        self._listeners: list[socket.socket] = []
        self._connections: list[_Connection] = []  # oldest first
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._wake: tuple[socket.socket, ...] = ()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listens when it returns. Raises UsageError if an address cannot be used."""
        try:
            for address in self._wanted:
                self._listeners.append(addresses.listen(address))
        except BaseException:
            self._close()
            raise
        self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._accept_loop, name="web", daemon=True)
        self._thread.start()

    @property
    def addresses(self) -> list[str]:
        """`host:port` of every listener, with the real port where 0 was asked for."""
        return [addresses.shown(listener) for listener in self._listeners]

    @property
    def urls(self) -> list[str]:
        scheme = "https" if self.guard.rules().tls else "http"
        return [f"{scheme}://{address}" for address in self.addresses]

    def stop(self) -> None:
        """Stops within a second. Answers under way may end; everyone else is cut."""
        if self._thread is None:
            return
        self._stopping.set()
        self._wake[1].send(b"x")
        self._thread.join(timeout=1.0)
        self._thread = None
        deadline = time.monotonic() + self.limits.stop_s
        for connection in self._open():
            if not connection.answering:
                connection.cut()
        for connection in self._open():
            connection.thread.join(timeout=max(0.0, deadline - time.monotonic()))
            connection.cut()
        self._close()

    def _close(self) -> None:
        for opened in (*self._listeners, *self._wake):
            opened.close()

    def _open(self) -> list[_Connection]:
        with self._lock:
            return list(self._connections)

    def _accept_loop(self) -> None:
        with selectors.DefaultSelector() as selector:
            for listener in (*self._listeners, self._wake[0]):
                selector.register(listener, selectors.EVENT_READ)
            while not self._stopping.is_set():
                try:
                    for key, _ in selector.select(self._cut_overdue()):
                        if key.fileobj is not self._wake[0]:
                            self._accept(key.fileobj)
                except Exception:
                    log.exception("error in the web server; it goes on")
                    self._stopping.wait(RETRY_S)

    def _cut_overdue(self) -> float | None:
        """Cuts the connections whose time is over; gives the seconds until the next one's is."""
        now = time.monotonic()
        opened = self._open()
        left_s = [connection.deadline - now for connection in opened]
        for connection, left in zip(opened, left_s, strict=True):
            if left <= 0:
                connection.cut()
        return max(min(left_s), RETRY_S) if left_s else None

    def _accept(self, listener: Any) -> None:
        try:
            sock, peer = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as problem:  # out of file descriptors: the connection stays in the queue
            log.warning("cannot accept a connection: %s", problem)
            self._stopping.wait(RETRY_S)
            return
        sock.setblocking(True)
        connection = _Connection(sock, peer[0], self)
        if not self._make_room():
            _refuse(sock)
            return
        with self._lock:
            self._connections.append(connection)
        try:
            connection.thread.start()
        except RuntimeError:  # no more threads
            self.forget(connection)
            _refuse(sock)

    def _make_room(self) -> bool:
        opened = self._open()
        if len(opened) < self.limits.connections:
            return True
        least = next((connection for connection in opened if not connection.answering), opened[0])
        if least.answering and time.monotonic() - least.started < self.limits.grace_s:
            return False
        least.cut()
        self.forget(least)
        return True

    def forget(self, connection: _Connection) -> None:
        """The connection takes no place any more."""
        with self._lock:
            if connection in self._connections:
                self._connections.remove(connection)


class _Connection:
    """One client, in a thread of its own."""

    def __init__(self, sock: socket.socket, peer: str, server: WebServer) -> None:
        self.sock = sock
        self.peer = peer
        self.started = time.monotonic()
        self.answering = False  # the request is there
        self.thread = threading.Thread(target=self._run, name="web client", daemon=True)
        self._server = server

    @property
    def deadline(self) -> float:
        limits = self._server.limits
        return self.started + (limits.answer_s if self.answering else limits.header_s)

    def cut(self) -> None:
        """Ends whatever the thread waits for on the socket. The socket stays the thread's to close."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)  # SSLSocket's own would also drop the encryption

    def _run(self) -> None:
        try:
            self._serve()
        except OSError as problem:  # the client went away, was cut, or speaks no TLS
            log.debug("web client %s: %s", self.peer, problem)
        except Exception:
            log.exception("web client %s: error in the web server", self.peer)
        finally:
            self.sock.close()
            self._server.forget(self)

    def _serve(self) -> None:
        rules = self._server.guard.rules()
        if rules.tls is not None:
            self.sock = rules.tls.wrap(self.sock)
            rules.tls.greet(self.sock)
        request = Request(self.sock, self.peer, self._server.limits.header_bytes)
        self.answering = True
        if request.complete:
            request.send(self._answer(request, rules), rules.settings.headers)

    def _answer(self, request: Request, rules: Rules) -> Response:
        """The page, or why there is none."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        refusal = self._server.guard.refusal(rules, headers.get("authorization"))
        if refusal is not None:
            return refusal
        try:
            return self._server.site.answer(request.command, request.path, headers)
        except Exception:
            log.exception("web client %s: no answer to %r", self.peer, request.path[:200])
            return text(500, "Internal error; see the log of the exporter.\n")


def _refuse(sock: socket.socket) -> None:
    """Says so if that is possible without waiting."""
    with contextlib.suppress(OSError):
        sock.setblocking(False)
        sock.send(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    sock.close()
