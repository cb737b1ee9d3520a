from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers import server
from training_monitor.errors import ConfigError
from training_monitor.expose.web_config import TlsSettings, WebSettings, load

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
TLS = "tls_server_config:\n  cert_file: a.crt\n  key_file: a.key\n"


@pytest.fixture
def web(tmp_path: Path) -> Path:
    return tmp_path / "web.yml"


def problems(path: Path, text: str) -> list[str]:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert all(p.startswith(f"{path}: ") for p in caught.value.problems)
    return [p.removeprefix(f"{path}: ") for p in caught.value.problems]


def test_an_empty_file_lets_everyone_in(web: Path) -> None:
    web.write_text("")
    assert load(web) == WebSettings()


def test_every_setting_is_read(web: Path) -> None:
    web.write_text(
        TLS + "  client_ca_file: /etc/ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n"
        "  client_allowed_sans: [prometheus]\n  min_version: TLS13\n  max_version: TLS13\n"
        "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n  prefer_server_cipher_suites: false\n"
        "http_server_config:\n  http2: false\n  headers: {X-Frame-Options: sameorigin, X-XSS-Protection: ''}\n"
        f"basic_auth_users: {{prometheus: {HASH}}}\nrate_limit: {{interval: 1m30s, burst: 5}}\n"
    )
    assert load(web) == WebSettings(
        tls=TlsSettings(
            cert_file=str(web.parent / "a.crt"),
            key_file=str(web.parent / "a.key"),
            client_ca_file="/etc/ca.crt",
            client_auth_type="RequireAndVerifyClientCert",
            client_allowed_sans=("prometheus",),
            min_version="TLS13",
            max_version="TLS13",
            cipher_suites=("ECDHE-RSA-AES128-GCM-SHA256",),
            prefer_server_cipher_suites=False,
        ),
        users={"prometheus": HASH},
        headers={"X-Frame-Options": "sameorigin"},
        rate_interval_s=90.0,
        rate_burst=5,
    )


def test_secrets_are_not_in_the_representation(web: Path) -> None:
    web.write_text(f"tls_server_config: {{cert: CERT, key: KEY}}\nbasic_auth_users: {{a: {HASH}}}\n")
    assert HASH not in repr(load(web))
    assert "KEY" not in repr(load(web))


#: Values that are not of their tag, and too deep a nesting: PyYAML raises other errors than its own.
BAD_VALUES = ("a: 2001-99-99", "a: !!bool x", "a: !!map [1]", "a: !!timestamp x", "[" * 5000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", ["expected a mapping, found a list"]),
        ("tls_config: {}", ["tls_config: unknown key; did you mean tls_server_config?"]),
        (
            "zzz: 1",
            ["zzz: unknown key; allowed: tls_server_config, http_server_config, basic_auth_users, rate_limit"],
        ),
        (
            "tls_server_config: {cert_file: a.crt}",
            ["tls_server_config: key_file is missing"],
        ),
        (
            TLS + "  cert: x\n",
            ["tls_server_config.cert: stands beside cert_file; only one of them can be used"],
        ),
        (
            TLS + "  min_version: TLS10\n",
            ["tls_server_config.min_version: 'TLS10' is not offered; allowed: TLS12, TLS13"],
        ),
        (
            TLS + "  min_version: TLS13\n  max_version: TLS12\n",
            ["tls_server_config.max_version: TLS12 is below min_version TLS13"],
        ),
        (
            TLS + "  client_auth_type: RequireAnyClientCert\n",
            [
                "tls_server_config.client_auth_type: 'RequireAnyClientCert' is not offered; allowed: "
                "NoClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert"
            ],
        ),
        (
            TLS + "  client_auth_type: RequireAndVerifyClientCert\n",
            ["tls_server_config.client_ca_file: is missing; RequireAndVerifyClientCert needs it"],
        ),
        (
            TLS + "  client_ca_file: ca\n  client_allowed_sans: [a]\n",
            [
                "tls_server_config.client_auth_type: NoClientCert does not use client_ca; "
                "choose another or leave it out",
                "tls_server_config.client_allowed_sans: needs client_auth_type RequireAndVerifyClientCert",
            ],
        ),
        (
            TLS + "  curve_preferences: [X25519]\n",
            ["tls_server_config.curve_preferences: cannot be chosen here; leave it out"],
        ),
        (
            TLS + "  client_allowed_sans: [1]\n",
            ["tls_server_config.client_allowed_sans: expected a list of texts"],
        ),
        (
            TLS + "  prefer_server_cipher_suites: 1\n",
            ["tls_server_config.prefer_server_cipher_suites: expected true or false, found a whole number"],
        ),
        (
            "basic_auth_users: {alice: secret, bob: 1}",
            [
                "basic_auth_users.alice: is no bcrypt hash; make one with: htpasswd -nBC 10 ''",
                "basic_auth_users.bob: is no bcrypt hash; make one with: htpasswd -nBC 10 ''",
            ],
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: no, Set-Cookie: a, X-Content-Type-Options: sniff}}",
            [
                "http_server_config.headers.Set-Cookie: unknown key; allowed: Content-Security-Policy, "
                "Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection",
                "http_server_config.headers.X-Frame-Options: expected one line of ASCII text",
                "http_server_config.headers.X-Content-Type-Options: 'sniff' is not allowed; allowed: nosniff",
            ],
        ),
        (
            'http_server_config: {headers: {Content-Security-Policy: "a\\r\\nSet-Cookie: b"}}',
            ["http_server_config.headers.Content-Security-Policy: expected one line of ASCII text"],
        ),
        ("rate_limit: {interval: fast, burst: 1}", ["rate_limit.interval: 'fast' is no duration like 100ms or 1s"]),
        ("rate_limit: {interval: 1s}", ["rate_limit.burst: 0 lets no request through; allowed: 1 and more"]),
        ("rate_limit: {burst: many}", ["rate_limit.burst: expected a whole number, found a text"]),
        ("a: 1\na: 2", ["is no valid YAML in line 2, column 1: 'a' stands twice"]),
        ("{}: 1", ["is no valid YAML in line 1, column 1: found unhashable key"]),
        ("? [a]\n: 1", ["is no valid YAML in line 1, column 3: found unhashable key"]),
        *((text, ["is no valid YAML: it cannot be decoded"]) for text in BAD_VALUES),
        ("a: [", ["is no valid YAML in line 1, column 5: expected the node content, but found '<stream end>'"]),
        (
            "basic_auth_users: {1: a, null: b}",
            [f"basic_auth_users.{k}: unknown key; allowed: text" for k in ("1", "nothing")],
        ),
    ],
)
def test_every_mistake_is_named_with_its_place(web: Path, text: str, expected: list[str]) -> None:
    assert problems(web, text) == expected


def test_all_mistakes_are_told_at_once(web: Path) -> None:
    assert len(problems(web, "a: 1\nb: 2\nrate_limit: {burst: x}\nbasic_auth_users: {u: p}\n")) == 4


def test_a_file_that_cannot_be_read_is_said_plainly(web: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        load(web)


def test_a_mistake_beside_a_secret_does_not_show_it(web: Path) -> None:
    assert "hunter2" not in "".join(problems(web, "basic_auth_users:\n  alice: hunter2: [\n"))
    assert "hunter2" not in "".join(problems(web, "basic_auth_users:\n  alice: hunter2\n"))


@given(data=st.binary(max_size=200) | st.text(st.sampled_from("ab:{}[]-\n &*!'\"|>#%@`1"), max_size=80).map(str.encode))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any-web.yml"
    path.write_bytes(data)
    with contextlib.suppress(ConfigError):
        load(path)


GOOD = [
    "",
    f"basic_auth_users: {{prometheus: {HASH}}}\n",
    "rate_limit: {interval: 100ms, burst: 20}\n",
    "http_server_config: {http2: false, headers: {X-Frame-Options: deny, Strict-Transport-Security: max-age=1}}\n",
    "tls_server_config: {cert_file: server.crt, key_file: server.key, min_version: TLS13}\n",
    "tls_server_config: {cert_file: server.crt, key_file: server.key, client_ca_file: ca.crt, "
    "client_auth_type: RequireAndVerifyClientCert, client_allowed_sans: [prometheus]}\n",
    "tls_server_config: {cert_file: server.crt, key_file: server.key, "
    "cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]}\n",
]


@pytest.mark.parametrize("text", GOOD)
def test_promtool_accepts_what_is_accepted_here(web: Path, pki: Path, text: str) -> None:
    web = pki / "web.yml"
    web.write_text(text)
    load(web)
    checked = subprocess.run(
        [server("promtool"), "check", "web-config", web], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_the_example_of_the_docs_is_one(web: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
    text = page.split("## TLS and users")[1].split("```yaml\n")[1].split("```")[0]
    web.write_text(text)
    settings = load(web)
    assert settings.tls is not None
    assert settings.tls.client_auth_type == "RequireAndVerifyClientCert"
    assert settings.users == {"prometheus": HASH}
