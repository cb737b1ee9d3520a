from __future__ import annotations

from pathlib import Path

import pytest
import trustme


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    """A folder with ca.crt, server.crt and .key, other.crt and .key (server too), client.crt and .key, stranger.*."""
    ca, stranger = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.crt")
    for name, issued in {
        "server": ca.issue_cert("127.0.0.1", "localhost"),
        "other": ca.issue_cert("127.0.0.1", "localhost"),
        "client": ca.issue_cert("prometheus.example.org"),
        "stranger": stranger.issue_cert("prometheus.example.org"),
    }.items():
        (tmp_path / f"{name}.crt").write_bytes(b"".join(c.bytes() for c in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
    return tmp_path
