from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_monitor.errors import UsageError
from training_monitor.expose.addresses import listen, shown, split


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:10042", "127.0.0.1", 10042),
        (":10042", "", 10042),
        ("[::1]:10042", "::1", 10042),
        ("localhost:0", "localhost", 0),
    ],
)
def test_addresses_are_written_as_in_prometheus(address: str, host: str, port: int) -> None:
    assert split(address) == (host, port)


@pytest.mark.parametrize("address", ["", "10042", "localhost", "::1:10042", "a:b", ":65536", ":-1", ":1_0", "a:", ":٣"])
def test_what_is_no_address_is_refused_with_examples(address: str) -> None:
    with pytest.raises(UsageError, match=r"is no address with a port .* 127\.0\.0\.1:10042, :10042"):
        split(address)


@given(st.text())
def test_any_text_is_an_address_or_refused(address: str) -> None:
    try:
        _, port = split(address)
    except UsageError:
        return
    assert 0 <= port <= 65535


def test_a_port_in_use_is_said_plainly() -> None:
    with listen("127.0.0.1:0") as first, pytest.raises(UsageError, match="the port is in use by another program"):
        listen(shown(first))


def test_an_address_of_another_machine_is_said_plainly() -> None:
    with pytest.raises(UsageError, match="this machine does not have that address"):
        listen("192.0.2.1:0")


def test_a_name_that_does_not_exist_is_said_plainly() -> None:
    with pytest.raises(UsageError, match=r"cannot listen on no-such-host\.invalid:0: "):
        listen("no-such-host.invalid:0")


def test_without_a_host_every_interface_listens() -> None:
    with listen(":0") as listener:
        assert shown(listener).startswith("localhost:")
        with socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=5):
            pass
