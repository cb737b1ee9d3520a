"""Finds Prometheus' programs for tests that need them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

_CACHE = Path(__file__).parent.parent / ".cache" / "servers" / "bin"


def server(name: str) -> Path:
    """Path of `promtool`, `amtool`, `prometheus`, … from PATH or the local cache; without it the test is skipped.

    In continuous integration (CI is set) a missing program is a failure: nothing may go unchecked there unnoticed.
    """
    found = shutil.which(name) or shutil.which(name, path=_CACHE)
    if found is not None:
        return Path(found)
    reason = f"{name} is neither on PATH nor in {_CACHE}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
