"""Writes dashboards/*.json.

    python grafana/generate.py [--check]

`--check` writes nothing and exits 1 if a file is not what would be written.

Plain Python that makes dicts, and no builder library: the JSON of Grafana's v1 schema is small and stable (10.4 to 13
load it), while grafana-foundation-sdk on PyPI ends at Grafana 11.6 and grafanalib at the panels of 2023. What the code
adds is what a hand-written file cannot have: one threshold table, one set of colours, one selector for every query.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from boards import exporter, overview, run

FOLDER = Path(__file__).parent / "dashboards"


def documents() -> dict[str, str]:
    """File name → contents of every dashboard."""
    boards = [module.build() for module in (overview, run, exporter)]
    return {f"{board['uid']}.json": json.dumps(board, indent=1, ensure_ascii=False) + "\n" for board in boards}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Writes grafana/dashboards/*.json.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    check = parser.parse_args(argv).check
    stale = [
        n for n, text in documents().items() if not (FOLDER / n).exists() or (FOLDER / n).read_text("utf-8") != text
    ]
    if check and stale:
        print(f"out of date, run python grafana/generate.py: {', '.join(stale)}", file=sys.stderr)
    if not check:
        FOLDER.mkdir(exist_ok=True)
        for name, text in documents().items():
            (FOLDER / name).write_text(text, "utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
