"""The docs tell the truth: commands run, links lead somewhere, names exist, generated parts are current."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from training_monitor.expose import catalogue

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: Commands that a test elsewhere runs, by their beginning, and which.
ELSEWHERE = {
    "make demo": "tests/stack",
    "make test": "this is it",
    "make check": ".ci/run",
    "make stack": "tests/stack",
    "make bench": "not a test: it measures",
    "make fuzz": "not a test: it runs for minutes",
    "make soak": "not a test: it runs for minutes",
    "pip install .": "tests/wheel.sh",
    "docker compose": "tests/compose",
}


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in BLOCK.findall(page.read_text()):
            joined = block.replace("\\\n", " ")
            found += [(page.name, line.split(" #")[0].strip()) for line in joined.splitlines() if line.strip()]
    return [(page, line) for page, line in found if not line.startswith("#")]


def test_generated_parts_are_current():
    checked = subprocess.run(
        [sys.executable, "tools/docs", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(("page", "command"), commands())
def test_every_command_block_runs(page, command, tmp_path):
    if any(command.startswith(known) for known in ELSEWHERE):
        return
    assert command.startswith("training-monitor "), f"{page}: nobody runs {command!r}; add it to ELSEWHERE"
    bin_folder = Path(sys.executable).parent
    line = command.replace("/path/to/logs", "examples/nanochat").replace("/var/lib/training-monitor", str(tmp_path))
    if " serve" in line:
        line = f"timeout --preserve-status -s TERM 3 {line} --web.listen-address 127.0.0.1:0"
    env = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    done = subprocess.run(line, shell=True, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{page}: {command}\n{done.stdout[-500:]}{done.stderr[-2000:]}"
    assert done.stdout or done.stderr


def test_links_between_pages_lead_somewhere():
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith(("http:", "https:", "mailto:")) and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []


def test_every_metric_that_the_docs_name_exists():
    known = {m.name for m in (*catalogue.RUN, *catalogue.SOURCE, *catalogue.OWN, catalogue.SCRAPE_DURATION)}
    for page in PAGES:
        named = set(re.findall(r"\btraining_(?:[a-z]+_)*[a-z]+\b", page.read_text())) - {"training_monitor"}
        unknown = {n for n in named if n not in known and not any(k.startswith(f"{n}_") for k in known)}
        assert unknown == set(), page.name


def test_nothing_speaks_of_the_machine_it_was_written_on():
    for page in PAGES:
        assert not re.search(r"/root/|/home/[a-z]+/(?!user)", page.read_text()), page.name
