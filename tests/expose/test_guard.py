from __future__ import annotations

import base64
import http.client
import logging
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import bcrypt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from full_view import full_view
from training_monitor.errors import ConfigError
from training_monitor.expose import guard as guard_module
from training_monitor.expose.guard import Guard, Rules
from training_monitor.expose.http import Limits, WebServer
from training_monitor.expose.web_config import WebSettings

HASH = bcrypt.hashpw(b"open sesame", bcrypt.gensalt(4)).decode()
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"
MTLS = (
    "tls_server_config: {cert_file: server.crt, key_file: server.key, client_ca_file: ca.crt, "
    "client_auth_type: RequireAndVerifyClientCert}\n"
)
FOREVER_S = 600.0


def basic(name: str, password: str | bytes) -> str:
    password = password.encode() if isinstance(password, str) else password
    return "Basic " + base64.b64encode(name.encode() + b":" + password).decode()


def status(guard: Guard, authorization: str | None) -> int:
    refused = guard.refusal(guard.rules(), authorization)
    return 200 if refused is None else refused.status


@contextmanager
def serving(folder: Path, text: str, limits: Limits | None = None) -> Iterator[WebServer]:
    (folder / "web.yml").write_text(text)
    server = WebServer(["127.0.0.1:0"], full_view, web_config=str(folder / "web.yml"), limits=limits)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def trusting(folder: Path, client: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    if client is not None:
        context.load_cert_chain(folder / f"{client}.crt", folder / f"{client}.key")
    return context


def ask(server: WebServer, context: ssl.SSLContext | None = None, **headers: str) -> int:
    plain = http.client.HTTPConnection(server.addresses[0], timeout=20)
    connection = plain if context is None else http.client.HTTPSConnection(server.addresses[0], context=context)
    with closing(connection):
        connection.request("GET", "/-/healthy", headers=headers)
        return connection.getresponse().status


def spy(monkeypatch: pytest.MonkeyPatch, *, matches: bool) -> list[str]:
    """The hashes that passwords are compared with from now on; every password matches, or none."""
    seen: list[str] = []

    def stand_in(password: bytes, hashed: str) -> bool:
        seen.append(hashed)
        return matches

    monkeypatch.setattr(guard_module, "_matches", stand_in)
    return seen


@pytest.fixture
def users(tmp_path: Path) -> Guard:
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{alice: {HASH}}}\n")
    return Guard(str(tmp_path / "web.yml"))


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic ???",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"\xff:open sesame").decode(),
        "Bearer open sesame",
        basic("alice", "wrong"),
        basic("alice", ""),
        basic("alice", "open sesame\0"),
        basic("bob", "open sesame"),
        basic("", "open sesame"),
        basic("alice", "x" * 100),
    ],
)
def test_only_known_users_with_their_password_get_in(users: Guard, authorization: str | None) -> None:
    assert status(users, authorization) == 401
    assert status(users, basic("alice", "open sesame")) == 200


@given(st.text() | st.binary().map(lambda b: "Basic " + base64.b64encode(b).decode()))
def test_any_authorization_is_refused_or_right(authorization: str) -> None:
    rules = Rules(WebSettings(users={"alice": HASH}))
    refused = Guard().refusal(rules, authorization)
    assert refused is not None
    assert refused.headers["WWW-Authenticate"] == "Basic"


def test_an_unknown_user_takes_as_long_as_a_known_one(users: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = spy(monkeypatch, matches=False)
    status(users, basic("alice", "a"))
    status(users, basic("bob", "a"))
    assert seen == [HASH, guard_module._NOBODY]
    assert bcrypt.checkpw(b"nobody has this password", guard_module._NOBODY.encode())


def test_a_password_is_hashed_once(users: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = spy(monkeypatch, matches=True)
    assert [status(users, basic("alice", "a")) for _ in range(5)] == [200] * 5
    assert len(seen) == 1


def test_what_is_remembered_of_passwords_is_bounded(users: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    spy(monkeypatch, matches=False)
    for i in range(1000):
        status(users, basic("alice", str(i)))
    assert len(users._users._wrong) <= 100


def test_guessing_neither_holds_up_nor_forgets_who_knows_the_password(
    users: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status(users, basic("alice", "open sesame")) == 200
    guessing, go_on = threading.Event(), threading.Event()

    def slow(password: bytes, hashed: bytes) -> bool:
        guessing.set()
        return not go_on.wait(20)

    monkeypatch.setattr(bcrypt, "checkpw", slow)
    guess = threading.Thread(target=status, args=(users, basic("alice", "guess")))
    guess.start()
    assert guessing.wait(20)
    assert status(users, basic("alice", "open sesame")) == 200
    assert guess.is_alive()
    go_on.set()
    guess.join(20)
    for i in range(1000):
        status(users, basic("alice", str(i)))
    assert status(users, basic("alice", "open sesame")) == 200


def test_a_changed_file_is_in_force_at_the_next_request(users: Guard, tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{bobby: {HASH}}}\n")
    assert status(users, basic("alice", "open sesame")) == 401
    assert status(users, basic("bobby", "open sesame")) == 200


def test_a_broken_change_leaves_the_old_rules_and_is_told_once(
    users: Guard, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "web.yml").write_text("basic_auth_users: {alice: plain}\n")
    assert [status(users, basic("alice", "open sesame")) for _ in range(3)] == [200] * 3
    assert [r.levelno for r in caplog.records] == [logging.ERROR]
    assert "the one before stays in force" in caplog.text
    (tmp_path / "web.yml").unlink()
    assert status(users, basic("alice", "open sesame")) == 200
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{bobby: {HASH}}}\n")
    assert status(users, basic("alice", "open sesame")) == 401


def test_a_wrong_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        WebServer(["127.0.0.1:0"], full_view, web_config=str(tmp_path / "web.yml"))


def test_more_requests_than_allowed_are_refused(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text("rate_limit: {interval: 1s, burst: 2}\n")
    now = [0.0]
    guard = Guard(str(tmp_path / "web.yml"), monotonic=lambda: now[0])
    assert [status(guard, None) for _ in range(3)] == [200, 200, 429]
    now[0] += 1
    assert [status(guard, None) for _ in range(2)] == [200, 429]


def test_users_are_asked_for_on_every_page(tmp_path: Path) -> None:
    with serving(tmp_path, f"basic_auth_users: {{alice: {HASH}}}\n") as server:
        assert ask(server) == 401
        assert ask(server, Authorization=basic("alice", "open sesame")) == 200


def test_headers_of_the_file_win_over_ours(tmp_path: Path) -> None:
    with (
        serving(tmp_path, "http_server_config: {headers: {X-Frame-Options: sameorigin}}\n") as server,
        closing(http.client.HTTPConnection(server.addresses[0], timeout=20)) as connection,
    ):
        connection.request("GET", "/")
        assert connection.getresponse().headers.get_all("X-Frame-Options") == ["sameorigin"]


def test_tls_is_spoken(pki: Path) -> None:
    with serving(pki, TLS) as server:
        assert server.urls[0].startswith("https://")
        assert ask(server, trusting(pki)) == 200


def test_a_client_without_tls_gets_no_answer_and_does_no_harm(pki: Path) -> None:
    with serving(pki, TLS) as server:
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            ask(server)
        assert ask(server, trusting(pki)) == 200


def test_certificate_and_key_can_stand_in_the_file(pki: Path) -> None:
    texts = {name: (pki / f"server.{end}").read_text() for name, end in (("cert", "crt"), ("key", "key"))}
    inline = "".join(f"  {name}: |\n    " + text.replace("\n", "\n    ") + "\n" for name, text in texts.items())
    with serving(pki, "tls_server_config:\n" + inline) as server:
        assert ask(server, trusting(pki)) == 200


def test_a_new_certificate_is_used_without_a_restart(pki: Path) -> None:
    def certificate(server: WebServer) -> bytes | None:
        host, port = server.addresses[0].split(":")
        with (
            socket.create_connection((host, int(port)), timeout=20) as sock,
            trusting(pki).wrap_socket(sock, server_hostname=host) as tls,
        ):
            return tls.getpeercert(binary_form=True)

    with serving(pki, TLS) as server:
        before = certificate(server)
        os.replace(pki / "other.crt", pki / "server.crt")
        assert certificate(server) == before  # half of the change: the key does not fit yet
        os.replace(pki / "other.key", pki / "server.key")
        after = certificate(server)
    assert after is not None
    assert after != before


def test_clients_need_a_certificate_where_it_is_asked_for(pki: Path) -> None:
    with serving(pki, MTLS) as server:
        assert ask(server, trusting(pki, "client")) == 200
        for client in (None, "stranger"):
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
                ask(server, trusting(pki, client))


@pytest.mark.parametrize(("allowed", "gets_in"), [("prometheus.example.org", True), ("grafana.example.org", False)])
def test_only_allowed_names_of_clients_get_in(pki: Path, allowed: str, gets_in: bool) -> None:
    with serving(pki, MTLS.replace("}", f", client_allowed_sans: [{allowed}]}}")) as server:
        if gets_in:
            assert ask(server, trusting(pki, "client")) == 200
            return
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
            ask(server, trusting(pki, "client"))


def test_a_client_silent_in_the_handshake_holds_nobody_up(pki: Path) -> None:
    with serving(pki, TLS, Limits(header_s=FOREVER_S)) as server:
        host, port = server.addresses[0].split(":")
        with socket.create_connection((host, int(port)), timeout=20):
            assert ask(server, trusting(pki)) == 200


def test_a_client_silent_in_the_handshake_is_cut(pki: Path) -> None:
    with serving(pki, TLS, Limits(header_s=0.05)) as server:
        host, port = server.addresses[0].split(":")
        with socket.create_connection((host, int(port)), timeout=20) as sock:
            assert sock.recv(100) == b""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cert_file: no.crt, key_file: server.key", "certificate .*no.crt and key .* cannot be used: No such file"),
        ("cert_file: server.crt, key_file: other.key", "cannot be used: KEY_VALUES_MISMATCH"),
        ("cert_file: server.key, key_file: server.key", "cannot be used: "),
        ("cert_file: server.crt, key_file: encrypted.key", "the key is encrypted; store it without a passphrase"),
        ("cert: x, key: y", r"certificate \(inline\) and key \(inline\) cannot be used"),
        (
            "cert_file: server.crt, key_file: server.key, client_ca_file: x, client_auth_type: VerifyClientCertIfGiven",
            "client_ca .*x cannot be used: No such file",
        ),
        (
            "cert_file: server.crt, key_file: server.key, client_ca: x, client_auth_type: VerifyClientCertIfGiven",
            r"client_ca \(inline\) cannot be used",
        ),
    ],
)
def test_a_certificate_that_cannot_be_used_stops_the_start(pki: Path, text: str, message: str) -> None:
    key = serialization.load_pem_private_key((pki / "server.key").read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"passphrase")
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (pki / "encrypted.key").write_bytes(key.private_bytes(pem, form, secret))
    (pki / "web.yml").write_text(f"tls_server_config: {{{text}}}\n")
    with pytest.raises(ConfigError, match=message):
        Guard(str(pki / "web.yml"))
