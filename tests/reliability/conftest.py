"""What the tests of faults share."""

import ctypes
import os
from collections.abc import Iterator

import pytest

NOBODY = 65534


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """File access with the rights of nobody, in this thread and those it starts: root may read everything."""
    libc = ctypes.CDLL(None)
    if os.geteuid() == 0:
        libc.setfsuid(NOBODY)
    yield
    if os.geteuid() == 0:
        libc.setfsuid(0)
