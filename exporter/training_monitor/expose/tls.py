"""Speaks TLS as the web configuration says."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path
from typing import Any

from training_monitor.errors import ConfigError
from training_monitor.expose.web_config import TlsSettings

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFY = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


class Tls:
    """The server's side of TLS connections. Raises ConfigError if a certificate or key cannot be used."""

    def __init__(self, settings: TlsSettings, place: str) -> None:
        """`place`: the file that the settings come from, for messages."""
        self._place = place
        self._allowed_sans = frozenset(settings.client_allowed_sans)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = _VERSIONS[settings.min_version]
        self._context.maximum_version = _VERSIONS[settings.max_version]
        self._context.verify_mode = _VERIFY[settings.client_auth_type]
        if settings.prefer_server_cipher_suites:
            self._context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        if settings.cipher_suites:
            self._context.set_ciphers(":".join(settings.cipher_suites))
        self._load(settings)

    def wrap(self, sock: socket.socket) -> ssl.SSLSocket:
        """The encrypted socket, not greeted yet; `sock` is its own from now on."""
        return self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def greet(self, sock: ssl.SSLSocket) -> None:
        """Makes the handshake. Raises OSError if there is no agreement or the client is not allowed."""
        sock.do_handshake()
        if self._allowed_sans and not self._allowed_sans & _names(sock):
            raise ssl.SSLError("the client's certificate has no name of client_allowed_sans")

    def _load(self, settings: TlsSettings) -> None:
        what = f"certificate {settings.cert_file or '(inline)'} and key {settings.key_file or '(inline)'}"
        try:
            _load_chain(self._context, settings)
            what = f"client_ca {settings.client_ca_file or '(inline)'}"
            if settings.client_ca_file:
                self._context.load_verify_locations(cafile=settings.client_ca_file)
            elif settings.client_ca:
                self._context.load_verify_locations(cadata=settings.client_ca)
        except (OSError, ValueError) as problem:  # SSLError is an OSError
            reason = getattr(problem, "reason", None) or getattr(problem, "strerror", None) or problem
            raise ConfigError([f"{self._place}: tls_server_config: {what} cannot be used: {reason}"]) from problem


def _load_chain(context: ssl.SSLContext, settings: TlsSettings) -> None:
    """Loads certificate and key; inline texts pass through memory, because OpenSSL is only reachable by file name."""
    opened: list[int] = []
    try:
        cert = settings.cert_file or _in_memory(settings.cert, opened)
        key = settings.key_file or _in_memory(settings.key, opened)
        for path in (settings.cert_file, settings.key_file):
            if path:
                Path(path).open("rb").close()  # its error names the file, OpenSSL's does not
        context.load_cert_chain(cert, key, password=_no_passphrase)
    finally:
        for fd in opened:
            os.close(fd)


def _in_memory(text: str, opened: list[int]) -> str:
    fd = os.memfd_create("pem")
    opened.append(fd)
    os.write(fd, text.encode())
    return f"/proc/self/fd/{fd}"


def _no_passphrase() -> str:
    """Called for an encrypted key, for which OpenSSL would ask on the terminal."""
    raise ValueError("the key is encrypted; store it without a passphrase")


def _names(sock: ssl.SSLSocket) -> frozenset[str]:
    certificate = sock.getpeercert() or {}
    alternatives: Any = certificate.get("subjectAltName", ())  # pairs of kind and name
    return frozenset(str(name) for _, name in alternatives)
