"""Prepares the stack in Docker: checks the log folder, writes Alertmanager's configuration and Grafana's password.

Runs before the other services; what it prints stands in `docker compose logs init`. Exits 1 with the fix if the logs
cannot be read.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

sys.path.insert(0, "/etc/alertmanager")

LOGS, ALERTMANAGER, GRAFANA = Path("/logs"), Path("/run/alertmanager"), Path("/run/grafana")


def unreadable(folder: Path, shown: str, user: int) -> str | None:
    """Why the logs cannot be read, with the exact fix; None if they can."""
    try:
        with os.scandir(folder) as entries:
            files = [Path(e.path) for e in entries if e.is_file()]
    except OSError as e:
        return f"{shown} cannot be read by user {user}: {e.strerror}.{fix(folder)}"
    closed = [f for f in files if not os.access(f, os.R_OK)]
    if closed and len(closed) == len(files):
        return f"none of the {len(files)} files in {shown} can be read by user {user}.{fix(closed[0])}"
    for f in closed:
        print(f"warning: {shown}/{f.name} cannot be read by user {user}.{fix(f)}")
    return None


def fix(path: Path) -> str:
    owner = path.stat().st_uid
    return f" It belongs to user {owner}; do: echo STACK_UID={owner} >> .env && docker compose up -d"


def grafana_password(file: Path) -> None:
    """Makes a password once; Grafana's own user must be able to read it, in a volume that only Grafana mounts."""
    if not file.exists():
        file.write_text(secrets.token_urlsafe(18))
        file.chmod(0o444)
    print("grafana: user admin, password: docker compose exec grafana cat /run/grafana/admin_password")


def main() -> int:
    import render

    shown = os.environ.get("TRAINING_LOGS", str(LOGS))
    if problem := unreadable(LOGS, shown, os.getuid()):
        print(problem, file=sys.stderr)
        return 1
    config, told = render.render(copies=ALERTMANAGER / "secrets")
    render.write(config, ALERTMANAGER / "alertmanager.yml")
    print("pages are printed by the service `receiver`, and sent by\n  " + "\n  ".join(told))
    grafana_password(GRAFANA / "admin_password")
    return 0


if __name__ == "__main__":
    sys.exit(main())
