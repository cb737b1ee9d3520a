"""Reads the web configuration file: TLS, users, headers, rate limit, in the format of Prometheus' exporter-toolkit.

    tls_server_config:
      cert_file: server.crt           # relative to this file
      key_file: server.key
      client_auth_type: RequireAndVerifyClientCert
      client_ca_file: ca.crt
    basic_auth_users:
      prometheus: $2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG   # bcrypt
    http_server_config:
      headers: {Strict-Transport-Security: max-age=31536000}
    rate_limit: {interval: 100ms, burst: 20}

Source: prometheus/exporter-toolkit, docs/web-configuration.md and web/tls_config.go. What Go can do and Python's TLS
cannot (certificates that are asked for but not checked, a list of curves, TLS below 1.2) is refused, never ignored.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training_monitor.errors import NOT_OF_ITS_TAG, ConfigError

#: Headers that the format allows, with their allowed values (empty: any).
HEADERS: dict[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
CLIENT_AUTH = ("NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
VERSIONS = ("TLS12", "TLS13")
#: Go's names of the suites up to TLS 1.2 that are safe, and OpenSSL's.
CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """`tls_server_config`. Inline PEM texts win over nothing: each comes from a file or from the text, never both."""

    cert_file: str = ""
    key_file: str = ""
    client_ca_file: str = ""
    cert: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    client_ca: str = ""
    client_auth_type: str = "NoClientCert"
    client_allowed_sans: tuple[str, ...] = ()
    min_version: str = "TLS12"
    max_version: str = "TLS13"
    cipher_suites: tuple[str, ...] = ()
    prefer_server_cipher_suites: bool = True

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(f for f in (self.cert_file, self.key_file, self.client_ca_file) if f)


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The whole file. `rate_interval_s`: seconds per request, 0 for no limit."""

    tls: TlsSettings | None = None
    users: Mapping[str, str] = field(default_factory=dict, repr=False)  # name: bcrypt hash
    headers: Mapping[str, str] = field(default_factory=dict)
    rate_interval_s: float = 0.0
    rate_burst: int = 0


def load(path: Path) -> WebSettings:
    """The settings in the file. Raises ConfigError with every problem, each with its place."""
    import yaml

    try:
        document = _document(path)
    except OSError as problem:
        raise ConfigError([f"{path}: cannot be read: {problem.strerror}"]) from problem
    except (yaml.YAMLError, *NOT_OF_ITS_TAG) as problem:
        # Without YAML's own text, which would show the line: it may hold a secret.
        mark = getattr(problem, "problem_mark", None)
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = getattr(problem, "problem", None) or "it cannot be decoded"
        raise ConfigError([f"{path}: is no valid YAML{where}: {what}"]) from None
    reader = _Reader(path)
    settings = reader.settings({} if document is None else document)
    if reader.problems:
        raise ConfigError(reader.problems)
    return settings


def _document(path: Path) -> Any:
    """The YAML of the file; a key that stands twice in one mapping is an error, as it is for exporter-toolkit."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    continue  # a list or mapping as a key: refused below
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
                seen.add(key.value)
            return super().construct_mapping(node, deep=deep)

    return yaml.load(path.read_bytes(), Loader)  # noqa: S506 - a SafeLoader


class _Reader:
    """Checks a document and collects what is wrong with it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.problems: list[str] = []

    def settings(self, document: Any) -> WebSettings:
        allowed = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
        top = self._section(document, "", allowed)
        http = self._section(top.get("http_server_config"), "http_server_config", ("http2", "headers"))
        self._value(http, "http_server_config.http2", bool, True)  # accepted and without effect: HTTP/1.1 is spoken
        rate = self._section(top.get("rate_limit"), "rate_limit", ("interval", "burst"))
        interval_s = self._interval(rate)
        burst = self._value(rate, "rate_limit.burst", int, 0)
        if interval_s and burst < 1:
            self._problem("rate_limit.burst", f"{burst} lets no request through; allowed: 1 and more")
        return WebSettings(
            tls=self._tls(top["tls_server_config"]) if top.get("tls_server_config") else None,
            users=self._users(top.get("basic_auth_users")),
            headers=self._headers(http.get("headers")),
            rate_interval_s=interval_s,
            rate_burst=burst,
        )

    def _problem(self, place: str, text: str) -> None:
        self.problems.append(f"{self._path}: {place}: {text}" if place else f"{self._path}: {text}")

    def _section(self, found: Any, place: str, allowed: tuple[str, ...] | None) -> dict[str, Any]:
        """The mapping at `place`, without the keys that are not allowed (None: any text is)."""
        if found is None:
            return {}
        if not isinstance(found, dict):
            self._problem(place, f"expected a mapping, found {_kind(found)}")
            return {}
        known = {}
        for key, value in found.items():
            if not isinstance(key, str) or (allowed is not None and key not in allowed):
                close = difflib.get_close_matches(_key(key), allowed or (), 1)
                hint = f"did you mean {close[0]}?" if close else f"allowed: {', '.join(allowed or ('text',))}"
                self._problem(f"{place}.{_key(key)}" if place else _key(key), f"unknown key; {hint}")
            else:
                known[key] = value
        return known

    def _value(self, section: dict[str, Any], place: str, kind: type, default: Any) -> Any:
        found = section.get(place.rpartition(".")[2])
        if found is None:
            return default
        if type(found) is not kind:
            self._problem(place, f"expected {_KINDS[kind]}, found {_kind(found)}")
            return default
        return found

    def _one_of(self, section: dict[str, Any], place: str, allowed: tuple[str, ...], default: str) -> str:
        found: str = self._value(section, place, str, default) or default
        if found not in allowed:
            self._problem(place, f"{found!r} is not offered; allowed: {', '.join(allowed)}")
            return default
        return found

    def _texts(self, section: dict[str, Any], place: str) -> tuple[str, ...]:
        found: list[Any] = self._value(section, place, list, [])
        if not all(isinstance(item, str) for item in found):
            self._problem(place, "expected a list of texts")
            return ()
        return tuple(found)

    def _tls(self, found: Any) -> TlsSettings:
        at = "tls_server_config"
        names = (*TlsSettings.__dataclass_fields__, "curve_preferences")
        section = self._section(found, at, names)
        if section.get("curve_preferences"):
            self._problem(f"{at}.curve_preferences", "cannot be chosen here; leave it out")
        texts = {name: self._text_or_file(section, at, name) for name in ("cert", "key", "client_ca")}
        files = {f"{name}_file": self._path_of(section, f"{at}.{name}_file") for name in texts}
        for name in ("cert", "key"):
            if not texts[name] and not files[f"{name}_file"]:
                self._problem(at, f"{name}_file is missing")
        settings = TlsSettings(
            **texts,
            **files,
            client_auth_type=self._one_of(section, f"{at}.client_auth_type", CLIENT_AUTH, "NoClientCert"),
            client_allowed_sans=self._texts(section, f"{at}.client_allowed_sans"),
            min_version=self._one_of(section, f"{at}.min_version", VERSIONS, "TLS12"),
            max_version=self._one_of(section, f"{at}.max_version", VERSIONS, "TLS13"),
            cipher_suites=self._ciphers(section, f"{at}.cipher_suites"),
            prefer_server_cipher_suites=self._value(section, f"{at}.prefer_server_cipher_suites", bool, True),
        )
        self._check_together(settings, at)
        return settings

    def _check_together(self, tls: TlsSettings, at: str) -> None:
        has_ca = bool(tls.client_ca or tls.client_ca_file)
        if tls.min_version > tls.max_version:
            self._problem(f"{at}.max_version", f"{tls.max_version} is below min_version {tls.min_version}")
        if has_ca and tls.client_auth_type == "NoClientCert":
            self._problem(
                f"{at}.client_auth_type", "NoClientCert does not use client_ca; choose another or leave it out"
            )
        if not has_ca and tls.client_auth_type != "NoClientCert":
            self._problem(f"{at}.client_ca_file", f"is missing; {tls.client_auth_type} needs it")
        if tls.client_allowed_sans and tls.client_auth_type != "RequireAndVerifyClientCert":
            self._problem(f"{at}.client_allowed_sans", "needs client_auth_type RequireAndVerifyClientCert")

    def _text_or_file(self, section: dict[str, Any], at: str, name: str) -> str:
        found: str = self._value(section, f"{at}.{name}", str, "")
        if found and section.get(f"{name}_file"):
            self._problem(f"{at}.{name}", f"stands beside {name}_file; only one of them can be used")
        return found

    def _path_of(self, section: dict[str, Any], place: str) -> str:
        found: str = self._value(section, place, str, "")
        return str(self._path.parent / found) if found else ""

    def _ciphers(self, section: dict[str, Any], place: str) -> tuple[str, ...]:
        found = self._texts(section, place)
        for name in found:
            if name not in CIPHERS:
                self._problem(place, f"{name!r} is not offered; allowed: {', '.join(CIPHERS)}")
        return tuple(CIPHERS[name] for name in found if name in CIPHERS)

    def _users(self, found: Any) -> dict[str, str]:
        users = self._section(found, "basic_auth_users", None)
        for name, value in users.items():
            if not isinstance(value, str) or not _BCRYPT.fullmatch(value):
                self._problem(f"basic_auth_users.{name}", "is no bcrypt hash; make one with: htpasswd -nBC 10 ''")
        return users

    def _headers(self, found: Any) -> dict[str, str]:
        headers = self._section(found, "http_server_config.headers", tuple(HEADERS))
        for name, value in headers.items():
            place = f"http_server_config.headers.{name}"
            if not isinstance(value, str) or not (value.isascii() and value.isprintable()):
                self._problem(place, "expected one line of ASCII text")
            elif HEADERS[name] and value not in HEADERS[name]:
                self._problem(place, f"{value!r} is not allowed; allowed: {', '.join(HEADERS[name])}")
        return {name: value for name, value in headers.items() if value}

    def _interval(self, section: dict[str, Any]) -> float:
        found = section.get("interval")
        if found is None or found == 0:
            return 0.0
        if not isinstance(found, str) or not _DURATION.fullmatch(found):
            self._problem("rate_limit.interval", f"{_shown(found)} is no duration like 100ms or 1s")
            return 0.0
        return sum(float(n) * _UNIT_S[unit] for n, unit in re.findall(r"([\d.]+)(ms|s|m|h)", found))


_KINDS = {bool: "true or false", int: "a whole number", str: "a text", list: "a list", dict: "a mapping"}


def _key(key: Any) -> str:
    return key if isinstance(key, str) else _shown(key)


def _shown(found: Any) -> str:
    return repr(found) if isinstance(found, str | int | float) else _kind(found)


def _kind(found: Any) -> str:
    return _KINDS.get(type(found), "nothing" if found is None else f"a {type(found).__name__}")
