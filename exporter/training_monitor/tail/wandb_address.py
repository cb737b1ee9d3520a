"""Which W&B run a user means, where it is served, and the key for it.

The places are those of the wandb client (0.31.0: sdk/lib/urls.py, sdk/lib/wbauth): `WANDB_BASE_URL`, then `base_url` in
`settings`; `WANDB_API_KEY`, then the netrc file. The key is never part of anything that is shown.
"""

from __future__ import annotations

import configparser
import netrc
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from training_monitor.errors import UsageError

DEFAULT_URL = "https://api.wandb.ai"
#: The same service under two names; a key for one is a key for the other.
CLOUD = ("api.wandb.ai", "api.forge.coreweave.com")
#: Where the pages of the service are → where its API is.
_API_OF = {
    "wandb.ai": "https://api.wandb.ai",
    "www.wandb.ai": "https://api.wandb.ai",
    "app.wandb.ai": "https://api.wandb.ai",
    "forge.coreweave.com": "https://api.forge.coreweave.com",
}
_NAME = re.compile(r"[^/?#\x00-\x1f]{1,128}")
_KEY = re.compile(r"[!-~]{1,512}")


@dataclass(frozen=True, slots=True)
class Address:
    """One run. `run` is its id (`zuq9bkoj`), not its display name."""

    base_url: str  # of the API, without a slash at the end
    entity: str
    project: str
    run: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.run}"

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).netloc


def address(text: str, env: Mapping[str, str]) -> Address:
    """The run that `entity/project/run` or a run's URL names. Raises UsageError.

    >>> address("https://wandb.ai/me/llm/runs/zuq9bkoj?nw=x", {})
    Address(base_url='https://api.wandb.ai', entity='me', project='llm', run='zuq9bkoj')
    """
    url = urlsplit(text.strip())
    parts = [unquote(part) for part in url.path.split("/") if part]
    if url.scheme:
        base_url = _api_of(text, url.scheme, url.netloc)
        if url.netloc == "forge.coreweave.com" and parts[:1] == ["wandb"]:
            parts = parts[1:]
    else:
        base_url = _base_url(env)
    if len(parts) > 3 and parts[2] == "runs":
        parts = [*parts[:2], parts[3]]
    if len(parts) != 3 or not all(_NAME.fullmatch(part) for part in parts):
        raise UsageError(
            f"--wandb {text!r} names no run; give entity/project/run or the URL of a run's page, "
            "such as https://wandb.ai/entity/project/runs/zuq9bkoj"
        )
    return Address(base_url, *parts)


def _api_of(text: str, scheme: str, host: str) -> str:
    if "@" in host:
        raise UsageError("--wandb: the address holds a password; leave it out and set WANDB_API_KEY")
    if scheme not in ("http", "https") or not host:
        raise UsageError(f"--wandb {text!r} is no address of a W&B server; it begins with https://")
    if known := _API_OF.get(host):
        return known
    return f"{scheme}://{host}"


def _base_url(env: Mapping[str, str]) -> str:
    url = env.get("WANDB_BASE_URL") or _configured(env) or DEFAULT_URL
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise UsageError("WANDB_BASE_URL holds a password; leave it out and set WANDB_API_KEY")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"WANDB_BASE_URL {url!r} is no address; it is that of the API, such as {DEFAULT_URL}")
    if parts.scheme == "http" and parts.hostname in CLOUD:
        raise UsageError(f"WANDB_BASE_URL {url!r} would send the key in the clear; use https://")
    return _API_OF.get(parts.netloc, url.rstrip("/"))


def _configured(env: Mapping[str, str]) -> str | None:
    """`base_url` of `wandb login --host`."""
    folder = env.get("WANDB_CONFIG_DIR") or os.path.join(_home(env), ".config", "wandb")
    parser = configparser.ConfigParser(interpolation=None)
    with suppress(configparser.Error, OSError, UnicodeDecodeError):
        parser.read(os.path.join(folder, "settings"), encoding="utf-8")
        return parser.get("default", "base_url", fallback=None)
    return None


def api_key(host: str, env: Mapping[str, str]) -> str | None:
    """The key for `host`, read anew at each call; None if there is none."""
    if key := env.get("WANDB_API_KEY", "").strip():
        return key if _KEY.fullmatch(key) else None
    home = _home(env)
    for path in (env.get("NETRC"), os.path.join(home, ".netrc"), os.path.join(home, "_netrc")):
        if path and os.path.isfile(path):
            with suppress(netrc.NetrcParseError, OSError, UnicodeDecodeError):
                hosts = netrc.netrc(path).hosts
                for name in (host, *CLOUD) if host in CLOUD else (host,):
                    if name in hosts and _KEY.fullmatch(key := hosts[name][2] or ""):
                        return key
            return None
    return None


def _home(env: Mapping[str, str]) -> str:
    return env.get("HOME") or os.path.expanduser("~")
