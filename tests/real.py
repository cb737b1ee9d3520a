"""Real servers for tests: every version at hand."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from servers import server

ROOT = Path(__file__).parents[1]
#: Another version of the same programs (Debian's): rules and configurations must pass under it as well.
OTHER = ROOT / ".cache/servers-debian/bin"


def every(name: str) -> list[Path]:
    """All versions of a program that are here, at least one (see `server`)."""
    other = OTHER / name
    return [server(name), *([other] if other.exists() else [])]


def succeeds(*command: str | Path) -> str:
    """Runs a command that must exit with 0; gives what it printed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def load(path: str) -> ModuleType:
    """A script of this repository as a module; scripts of the stack are no packages."""
    spec = importlib.util.spec_from_file_location(path.replace("/", "_").removesuffix(".py"), ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
