from __future__ import annotations

import http.client
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from full_view import full_view
from training_monitor.errors import UsageError
from training_monitor.expose.http import Limits, WebServer
from training_monitor.expose.request import SECURITY_HEADERS
from training_monitor.expose.site import Response, text

FOREVER_S = 600.0  # longer than any test


class StandIn:
    """A site that says what the test wants."""

    def __init__(self, answer: Callable[[], Response]) -> None:
        self._answer = answer

    def answer(self, method: str, target: str, headers: Mapping[str, str]) -> Response:
        return self._answer()


@contextmanager
def serving(limits: Limits | None = None, answer: Callable[[], Response] | None = None) -> Iterator[WebServer]:
    server = WebServer(["127.0.0.1:0"], full_view, limits=limits)
    if answer is not None:
        server.site = StandIn(answer)  # type: ignore[assignment]
    server.start()
    try:
        yield server
    finally:
        server.stop()


def connect(server: WebServer) -> socket.socket:
    host, port = server.addresses[0].split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def everything(sock: socket.socket) -> bytes:
    """What the server sends until it hangs up."""
    received = b""
    try:
        while part := sock.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def raw(server: WebServer, request: bytes) -> bytes:
    with connect(server) as sock:
        sock.sendall(request)
        return everything(sock)


def ask(server: WebServer, path: str = "/-/healthy", method: str = "GET", body: bytes | None = None) -> Response:
    with closing(http.client.HTTPConnection(server.addresses[0], timeout=20)) as connection:
        connection.request(method, path, body=body)
        answer = connection.getresponse()
        content_type = answer.headers.pop("Content-Type") if hasattr(answer.headers, "pop") else ""
        return Response(answer.status, answer.read(), content_type or "", dict(answer.headers.items()))


def fail(error: Exception) -> None:
    raise error


def wait_until(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not claim():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def clients() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "web client"]


def test_metrics_are_served() -> None:
    with serving() as server:
        answer = ask(server, "/metrics")
    assert answer.status == 200
    assert b'\ntraining_loss{run="run-1"} 3.25\n' in answer.body


def test_every_answer_carries_the_security_headers_and_ends_the_connection() -> None:
    with serving() as server:
        for path in ("/", "/metrics", "/nonsense"):
            headers = ask(server, path).headers
            assert SECURITY_HEADERS.items() <= headers.items()
            assert headers["Connection"] == "close"
            assert headers["Server"] == "training-monitor"


def test_head_says_how_long_the_body_would_be() -> None:
    with serving(answer=lambda: text(200, "12345")) as server:
        answer = ask(server, method="HEAD")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "5")


def test_the_body_of_a_refused_request_is_taken_so_that_the_answer_arrives() -> None:
    with serving() as server:
        assert ask(server, "/metrics", "POST", b"x" * 100_000).status == 405


def test_several_addresses_serve_the_same() -> None:
    server = WebServer(["127.0.0.1:0", "localhost:0"], full_view)
    server.start()
    try:
        assert len(set(server.addresses)) == 2
        assert [url.split("://")[0] for url in server.urls] == ["http", "http"]
    finally:
        server.stop()


def test_a_port_in_use_leaves_no_listener_behind() -> None:
    with serving() as first:
        second = WebServer(["127.0.0.1:0", first.addresses[0]], full_view)
        with pytest.raises(UsageError, match="in use"):
            second.start()
        assert all(listener.fileno() == -1 for listener in second._listeners)
        second.stop()


def test_a_client_that_sends_half_a_header_is_cut() -> None:
    with serving(Limits(header_s=0.05)) as server, connect(server) as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
        assert everything(sock) == b""


def test_a_client_that_says_nothing_is_cut() -> None:
    with serving(Limits(header_s=0.05)) as server, connect(server) as sock:
        assert everything(sock) == b""


def test_a_client_that_does_not_take_its_answer_is_cut() -> None:
    large = Response(200, b"x" * 50_000_000)
    with serving(Limits(header_s=0.2, answer_s=0.2), lambda: large) as server, connect(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        wait_until(lambda: bool(server._open()))
        wait_until(lambda: not server._open())
        assert len(everything(sock)) < 50_000_000


def test_silent_clients_in_every_place_do_not_keep_a_scrape_out() -> None:
    limits = Limits(connections=4, header_s=FOREVER_S, grace_s=FOREVER_S)
    with serving(limits) as server:
        silent = [connect(server) for _ in range(20)]
        assert ask(server, "/metrics").status == 200
        assert len(server._open()) <= limits.connections
        for sock in silent:
            sock.close()


@pytest.mark.parametrize("grace_s", [0, FOREVER_S])
def test_an_answer_under_way_has_its_second_before_a_newer_connection_pushes_it_out(grace_s: float) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow() -> Response:
        asked.set()
        go_on.wait(20)
        return text(200, "done")

    with serving(Limits(connections=1, grace_s=grace_s), slow) as server, connect(server) as first:
        first.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert asked.wait(20)
        with connect(server) as second:
            if grace_s:
                assert everything(second).startswith(b"HTTP/1.1 503 ")
            else:
                wait_until(lambda: server._open()[0].sock.getpeername() == second.getsockname())
        go_on.set()
        assert everything(first).endswith(b"done") == bool(grace_s)


@pytest.mark.parametrize(
    "header",
    [b"GET /" + b"a" * 20_000, b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000, b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 5000],
)
def test_a_header_that_is_too_large_is_refused(header: bytes) -> None:
    with serving() as server:
        assert b" 431 " in raw(server, header + b" HTTP/1.1\r\n\r\n").split(b"\r\n")[0]


def test_too_many_header_fields_are_refused() -> None:
    with serving() as server:
        assert b" 431 " in raw(server, b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 200 + b"\r\n").split(b"\r\n")[0]


@pytest.mark.parametrize("request_line", [b"GARBAGE", b"GET / HTTP/9.x", b"GET / a b c HTTP/1.1", b"\xff\xfe / HTTP/1"])
def test_what_is_no_request_is_refused_without_being_repeated(request_line: bytes) -> None:
    with serving() as server:
        answer = raw(server, request_line + b"\r\n\r\n")
    assert answer.split()[1] in (b"400", b"505")
    assert request_line not in answer


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=200) | st.sampled_from([b"GET / HTTP/1.1", b"\r\n", b":", b"Host: a\r\n"])))
def test_no_bytes_of_a_client_stop_the_server(parts: list[bytes]) -> None:
    with connect(HARDENED) as sock:
        try:
            sock.sendall(b"".join(parts))
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it hung up on us
        everything(sock)
    assert ask(HARDENED).status == 200


def test_an_error_in_a_page_is_logged_and_the_client_told(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Response:
        raise KeyError("a bug")

    with serving(answer=broken) as server:
        assert ask(server).status == 500
    assert "no answer to '/-/healthy'" in caplog.text
    assert "a bug" in caplog.text


def test_requests_are_logged_without_control_characters(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "training_monitor.expose.request")
    with serving() as server:
        raw(server, b"GET /\x1b[31m HTTP/1.1\r\n\r\n")
    assert "/\\" in caplog.text
    assert "\x1b" not in caplog.text


def test_stopping_cuts_silent_clients_and_frees_the_port() -> None:
    with serving(Limits(header_s=FOREVER_S, stop_s=FOREVER_S)) as server, connect(server) as sock:
        wait_until(lambda: bool(server._open()))
        address = server.addresses[0]
        server.stop()
        assert everything(sock) == b""
        wait_until(lambda: not clients())
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(address.split(":")[1])), timeout=5)


def test_stopping_lets_an_answer_under_way_end() -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow() -> Response:
        asked.set()
        go_on.wait(20)
        return text(200, "done")

    with serving(Limits(stop_s=FOREVER_S), slow) as server, connect(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert asked.wait(20)
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        wait_until(server._stopping.is_set)
        go_on.set()
        assert everything(sock).endswith(b"done")
        stopper.join(20)
        assert not stopper.is_alive()


def test_stopping_does_not_wait_for_an_answer_that_does_not_end() -> None:
    asked, release = threading.Event(), threading.Event()

    def endless() -> Response:
        asked.set()
        release.wait(20)
        return text(200, "too late")

    with serving(Limits(stop_s=0.01), endless) as server, connect(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert asked.wait(20)
        server.stop()
        release.set()
        assert b"too late" not in everything(sock)


def test_an_error_while_accepting_is_logged_and_the_server_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serving() as server:
        errors = [ZeroDivisionError("a bug")]
        cut_overdue = server._cut_overdue
        monkeypatch.setattr(server, "_cut_overdue", lambda: fail(errors.pop()) if errors else cut_overdue())
        assert [ask(server).status for _ in range(2)] == [200, 200]
    assert "error in the web server; it goes on" in caplog.text
    assert "a bug" in caplog.text


def test_a_server_that_never_started_can_be_stopped_twice() -> None:
    server = WebServer(["127.0.0.1:0"], full_view)
    server.stop()
    server.stop()


@pytest.fixture(scope="module", autouse=True)
def _hardened() -> Iterator[None]:
    global HARDENED
    with serving() as HARDENED:
        yield


HARDENED: WebServer
