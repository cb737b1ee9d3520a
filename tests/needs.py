"""Real writers that some tests need: packages that are heavy and only there to be a peer."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import pytest


def package(name: str) -> ModuleType:
    """The imported package. Skips the test where it is missing; fails it in CI, which has to install it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        message = f"{name} is not installed: pip install '.[writers]'"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
