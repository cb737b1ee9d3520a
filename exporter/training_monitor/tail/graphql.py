"""One GraphQL request over HTTPS with limits: on time, on size, and on where the key may go."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    import requests

CONNECT_S, READ_S, TOTAL_S = 5.0, 15.0, 30.0
MAX_ANSWER = 64 << 20  # bytes
REDIRECTS = 3
_CHUNK = 1 << 16
_MAX_WAIT_S = 3600.0  # the longest that a server may ask to wait


class Refused(Exception):
    """No answer that can be used. The text says what to do and holds no secret."""

    def __init__(self, text: str, *, wait_s: float | None = None, is_final: bool = False) -> None:
        super().__init__(text)
        self.wait_s = wait_s  # seconds that the server asks to wait
        self.is_final = is_final  # will hardly change by itself


def post(url: str, key: str | None, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The `data` of the answer. Blocks for `TOTAL_S` seconds at most. Raises Refused."""
    import requests

    deadline = time.monotonic() + TOTAL_S
    # Given in any case: without it requests would look for a key of its own in ~/.netrc.
    auth = ("api", key) if key else _no_auth
    body = json.dumps({"query": query, "variables": variables}).encode()
    host = urlsplit(url).netloc
    try:
        with requests.Session() as session:
            for _ in range(REDIRECTS + 1):
                with session.post(
                    url,
                    data=body,
                    auth=auth,
                    headers={"Content-Type": "application/json", "User-Agent": "training-monitor"},
                    timeout=(CONNECT_S, READ_S),
                    allow_redirects=False,
                    stream=True,
                ) as answer:
                    if answer.is_redirect:
                        url = _next(url, answer.headers.get("Location", ""), host)
                        continue
                    _check(answer, host)
                    return _data(_content(answer, host, deadline), host)
            raise Refused(f"{host} redirects in a circle; check WANDB_BASE_URL", is_final=True)
    except requests.Timeout:
        raise Refused(f"{host} did not answer within {READ_S:g} s") from None
    except requests.RequestException as error:  # its text may name a proxy with its password
        raise Refused(f"{host} cannot be reached ({type(error).__name__})") from None
    except ValueError as error:
        raise Refused(f"{host}: the address or the proxy is not valid ({type(error).__name__})") from None


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _next(url: str, location: str, host: str) -> str:
    """Where a redirect leads, if that is the same host, and not from https to http."""
    target = urljoin(url, location)
    old, new = urlsplit(url), urlsplit(target)
    if new.netloc != host or (old.scheme == "https" and new.scheme != "https"):
        raise Refused(
            f"{host} redirects to {new.netloc or 'nowhere'}, where the key is not sent; "
            "set WANDB_BASE_URL to the address of the API",
            is_final=True,
        )
    return target


def _check(answer: requests.Response, host: str) -> None:
    """Raises Refused unless the status is 200."""
    status = answer.status_code
    if status == 200:
        return
    if status in (401, 403):
        raise Refused(f"{host} refuses the key ({status}); check WANDB_API_KEY or run `wandb login`", is_final=True)
    if status == 404:
        raise Refused(f"{host} has no W&B API there (404); check WANDB_BASE_URL", is_final=True)
    if status == 429:
        raise Refused(f"{host} asks to wait: too many requests (429)", wait_s=_wait(answer.headers))
    raise Refused(f"{host} has a problem of its own ({status})", wait_s=_wait(answer.headers))


def _wait(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by Retry-After (a number or a date) or RateLimit-Reset."""
    for name in ("Retry-After", "RateLimit-Reset"):
        text = headers.get(name, "").strip()
        try:
            seconds = float(text)
        except ValueError:
            try:
                seconds = parsedate_to_datetime(text).timestamp() - time.time()
            except (ValueError, TypeError):
                continue
        if 0 <= seconds < float("inf"):
            return min(seconds, _MAX_WAIT_S)
    return None


def _content(answer: requests.Response, host: str, deadline: float) -> bytes:
    content = bytearray()
    for chunk in answer.iter_content(_CHUNK):
        content += chunk
        if len(content) > MAX_ANSWER:
            raise Refused(f"{host} answers with more than {MAX_ANSWER >> 20} MiB")
        if time.monotonic() > deadline:
            raise Refused(f"{host} did not finish its answer within {TOTAL_S:g} s")
    return bytes(content)


def _data(content: bytes, host: str) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        raise Refused(f"{host} answers with something that is not JSON, as a proxy's login page does") from None
    if not isinstance(answer, dict):
        raise Refused(f"{host} answers with JSON that is no GraphQL answer")
    if errors := answer.get("errors"):
        first = errors[0] if isinstance(errors, list) and errors else errors
        text = str(first.get("message") if isinstance(first, dict) else first)
        raise Refused(f"{host} reports: {''.join(c if c.isprintable() else ' ' for c in text[:200])}")
    data = answer.get("data")
    return data if isinstance(data, dict) else {}
