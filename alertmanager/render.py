"""Assembles Alertmanager's configuration from alertmanager.yml and the receivers whose secret file is in place.

    python alertmanager/render.py OUTPUT [--secrets DIR] [--copy-secrets DIR] [--receiver URL] [--alertmanager VERSION]

Alertmanager itself would start with a secret file missing, and find out when the first page is to be sent. So each of
receivers/*.yml is taken up only if its secret can be read, and a line says what is configured, what is not, and why.
No secret is ever written into the configuration: it names the file.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
#: The stack's own receiver, as alertmanager.yml names it.
OWN_RECEIVER = "http://receiver:10043/"


def render(
    secrets: Path = HERE / "secrets",
    *,
    copies: Path | None = None,
    receiver: str = OWN_RECEIVER,
    version: str | None = None,
    here: Path = HERE,
) -> tuple[dict[str, Any], list[str]]:
    """The configuration, and one line about each receiver. Secrets are copied to `copies` where that is given."""
    config = yaml.safe_load((here / "alertmanager.yml").read_text(encoding="utf-8").replace(OWN_RECEIVER, receiver))
    config["templates"] = [str(here / pattern) for pattern in config["templates"]]
    if copies:
        shutil.rmtree(copies, ignore_errors=True)
    told = []
    for file in sorted((here / "receivers").glob("*.yml")):
        fragment = yaml.safe_load(file.read_text(encoding="utf-8"))
        secret = secrets / fragment["secret"]
        problem = missing(secret, file, fragment, version)
        if problem is None:
            place = copy(secret, copies) if copies else secret
            for target in config["receivers"]:
                add(target, fragment.get(target["name"], {}), str(place))
        told.append(f"{file.stem}: {problem or 'configured'}")
    return config, told


def missing(secret: Path, file: Path, fragment: dict[str, Any], version: str | None) -> str | None:
    """What keeps a receiver from being configured, with what to do about it."""
    shown = os.path.relpath(secret, HERE.parent) if secret.is_relative_to(HERE.parent) else str(secret)
    try:
        text = secret.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return f"not configured (put its secret into {shown})"
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is no text"
        return f"not configured: {shown} cannot be read by user {os.getuid()}: {reason}{fix(secret)}"
    if not text:
        return f"not configured: {shown} is empty"
    if "example.com" in str(fragment):
        return f"not configured: set your own addresses in alertmanager/receivers/{file.name}"
    if version and as_numbers(version) < as_numbers(fragment.get("since", "0")):
        return f"not configured: needs Alertmanager {fragment['since']} or later, this is {version}"
    return None


def fix(path: Path) -> str:
    """How to let the container's user read a file that belongs to somebody else."""
    try:
        owner = path.stat().st_uid
    except OSError:
        return ""
    return f"; in Docker: echo STACK_UID={owner} >> .env && docker compose up -d" if owner != os.getuid() else ""


def as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def copy(secret: Path, copies: Path) -> Path:
    """A copy that Alertmanager's own user can read, in a volume that nobody else mounts."""
    copies.mkdir(parents=True, exist_ok=True)
    place = copies / secret.name
    shutil.copyfile(secret, place)
    place.chmod(0o444)
    return place


def add(target: dict[str, Any], fragment: dict[str, Any], secret: str) -> None:
    """Adds the integrations of a fragment to a receiver, with the path of the secret in place."""
    for key, integrations in fragment.items():
        filled = [dict(filled_in(integration, secret)) for integration in integrations]
        target.setdefault(key, []).extend(filled)


def filled_in(integration: dict[str, Any], secret: str) -> Iterator[tuple[str, Any]]:
    return ((name, secret if value == "SECRET" else value) for name, value in integration.items())


def write(config: dict[str, Any], output: Path) -> None:
    """Replaces the file at once, so that Alertmanager never reads half of it."""
    output.parent.mkdir(parents=True, exist_ok=True)
    new = output.with_name(output.name + ".new")
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=1000)
    new.write_text(f"# Written by alertmanager/render.py; edit alertmanager/alertmanager.yml instead.\n{text}")
    new.replace(output)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Writes Alertmanager's configuration.")
    parser.add_argument("output", type=Path, help="file to write")
    parser.add_argument("--secrets", type=Path, default=HERE / "secrets", help="folder of the secret files")
    parser.add_argument("--copy-secrets", type=Path, help="copy the secrets here and name the copies")
    parser.add_argument("--receiver", default=OWN_RECEIVER, help="URL of the stack's own receiver")
    parser.add_argument("--alertmanager", help="version of Alertmanager, to leave out what it does not know")
    args = parser.parse_args(argv)
    config, told = render(args.secrets, copies=args.copy_secrets, receiver=args.receiver, version=args.alertmanager)
    write(config, args.output)
    print("\n".join(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
