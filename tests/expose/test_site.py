from __future__ import annotations

import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from full_view import full_snapshot, full_view
from training_monitor.expose.render import OPENMETRICS, TEXT
from training_monitor.expose.site import MAX_ROWS, Response, Site, landing
from training_monitor.expose.view import View
from training_monitor.records import Severity


def ask(target: str, view: View | None = None, method: str = "GET", **headers: str) -> Response:
    shown = full_view() if view is None else view
    return Site(lambda: shown).answer(method, target, {k.replace("_", "-"): v for k, v in headers.items()})


def test_metrics_are_text_unless_openmetrics_is_preferred() -> None:
    assert ask("/metrics").content_type == TEXT
    assert ask("/metrics", accept="application/openmetrics-text").content_type == OPENMETRICS


def test_metrics_wait_for_the_first_catch_up() -> None:
    response = ask("/metrics", full_view(ready=False))
    assert (response.status, response.body) == (503, b"Not ready: the logs are being read for the first time.\n")
    assert ask("/-/ready", full_view(ready=False)).status == 503


def test_the_exporter_is_healthy_before_it_is_ready() -> None:
    assert ask("/-/healthy", full_view(ready=False)).status == 200
    assert ask("/-/ready").status == 200


def test_health_does_not_look_at_the_runs() -> None:
    def view() -> Any:
        raise AssertionError("health must not wait for anything")

    assert Site(view).answer("GET", "/-/healthy", {}).status == 200


@pytest.mark.parametrize("accept", ["gzip", "deflate, gzip;q=0.5", "GZIP"])
def test_metrics_are_packed_for_those_who_take_it(accept: str) -> None:
    response = ask("/metrics?name[]=training_loss", accept_encoding=accept)
    assert response.headers["Content-Encoding"] == "gzip"
    assert b"training_loss{" in zlib.decompress(response.body, wbits=31)


@pytest.mark.parametrize("accept", ["", "identity", "gzip;q=0", "gzip; q=0.0", "br"])
def test_metrics_are_not_packed_for_others(accept: str) -> None:
    assert "Content-Encoding" not in ask("/metrics", accept_encoding=accept).headers


def test_the_query_picks_families() -> None:
    body = ask("/metrics?name[]=training_loss&name%5B%5D=training_step").body
    assert {line.split()[2] for line in body.decode().splitlines() if line[0] == "#"} == {
        "training_loss",
        "training_step",
    }


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", ""])
def test_only_get_and_head_are_allowed(method: str) -> None:
    response = ask("/metrics", method=method)
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("target", ["/nonsense", "/metrics/", "/../etc/passwd", "/metrics%00", "", "*", "//metrics"])
def test_other_paths_are_not_found(target: str) -> None:
    assert ask(target).status == 404


def test_an_invalid_address_is_refused() -> None:
    assert ask("http://[/metrics").status == 400


@given(st.text(), st.text(), st.text())
def test_any_request_gets_an_answer(target: str, accept: str, encoding: str) -> None:
    response = Site(View).answer("GET", target, {"accept": accept, "accept-encoding": encoding})
    assert response.status in (200, 400, 404)


def test_the_landing_page_names_the_exporter_its_pages_and_runs() -> None:
    page = ask("/").body.decode()
    assert "<h1>training-monitor " in page
    assert '<a href="/metrics">' in page
    assert "<td>run-1</td><td>running</td><td>1000 / 20000</td><td>3.2500</td><td>mfu_drop (warning)</td>" in page


def test_no_text_of_a_log_becomes_html() -> None:
    name = "<script>alert(1)</script>\x1b[31m\"'&"
    page = landing(full_view(snapshots=[full_snapshot(name, active={name: Severity.NOTICE})]))
    assert "<script" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\N{REPLACEMENT CHARACTER}[31m&quot;&#x27;&amp;" in page


@given(st.text(st.characters(), max_size=400))
def test_any_name_makes_the_same_html(name: str) -> None:
    page = landing(full_view(snapshots=[full_snapshot(name)]))
    plain = landing(full_view(snapshots=[full_snapshot("x")]))
    assert page.count("<") == plain.count("<")
    assert len(page) < len(plain) + 200 * len("&quot;")
    page.encode()


def test_the_landing_page_lists_a_bounded_number_of_runs() -> None:
    page = landing(full_view(*(f"run-{i}" for i in range(MAX_ROWS + 7))))
    assert page.count("<td>running</td>") == MAX_ROWS
    assert "… and 7 more." in page


def test_the_landing_page_says_when_there_is_no_run() -> None:
    assert "No run yet." in landing(View())
