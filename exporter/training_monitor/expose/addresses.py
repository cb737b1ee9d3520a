"""Listen addresses as Prometheus programs write them: `127.0.0.1:10042`, `:10042`, `[::1]:10042`."""

from __future__ import annotations

import errno
import socket

from training_monitor.errors import UsageError

FLAG = "--web.listen-address"
BACKLOG = 128


def split(address: str) -> tuple[str, int]:
    """Host (empty: every interface) and port. Raises UsageError."""
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else -1
    if not colon or not 0 <= number <= 65535 or (":" in host) != bracketed:
        raise UsageError(
            f"{FLAG}: {address!r} is no address with a port from 0 to 65535; "
            "allowed are forms like 127.0.0.1:10042, :10042 (every interface) and [::1]:10042"
        )
    return host, number


def listen(address: str) -> socket.socket:
    """A listening socket that does not block. Raises UsageError with what to do about it."""
    host, port = split(address)
    try:
        family, where = _resolve(host, port)
        return _bound(family, where, dual_stack=not host)
    except OSError as problem:
        raise UsageError(f"{FLAG}: cannot listen on {address}: {_reason(problem)}") from problem


def _resolve(host: str, port: int) -> tuple[int, tuple[str, int]]:
    if not host:
        return (socket.AF_INET6, ("::", port)) if socket.has_dualstack_ipv6() else (socket.AF_INET, ("0.0.0.0", port))  # noqa: S104 - asked for
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, where = found[0]
    return family, where  # type: ignore[return-value]  # of internet families


def _bound(family: int, where: tuple[str, int], *, dual_stack: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual_stack else 1)
        listener.bind(where)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _reason(problem: OSError) -> str:
    if problem.errno == errno.EADDRINUSE:
        return "the port is in use by another program; stop that one or choose another port"
    if problem.errno == errno.EADDRNOTAVAIL:
        return "this machine does not have that address"
    if problem.errno == errno.EACCES:
        return "ports below 1024 need rights that this user does not have"
    return problem.strerror or str(problem)


def shown(listener: socket.socket) -> str:
    """`host:port` as a client on this machine can use it."""
    host, port = listener.getsockname()[:2]
    host = {"::": "localhost", "0.0.0.0": "localhost"}.get(host, host)  # noqa: S104
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
