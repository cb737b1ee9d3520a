"""The Docker stack: what every service promises, and a true `docker compose up` where an engine can be had."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from real import ROOT, load
from servers import server

native = load("stack/native.py")
COMPOSE = ROOT / "docker-compose.yml"
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
#: Starts an engine and provides stand-ins for the upstream images where no registry can be reached.
STANDINS = ROOT.parent / "shared/tools/standin-images"
#: Grafana has no stand-in: it is left out, and so is what needs a GPU.
STARTED = ("init", "exporter", "receiver", "alertmanager", "prometheus", "replay")
LASTING = ("exporter", "receiver", "alertmanager", "prometheus")


def own(name: str) -> bool:
    return bool(SERVICES[name].get("build"))


@pytest.mark.servers
@pytest.mark.parametrize("profile", ["", "demo", "gpu"])
def test_the_compose_file_is_valid(profile: str) -> None:
    command = [server("docker-compose"), "--env-file", "/dev/null", "--profile", profile, "config", "--quiet"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not done.stderr


@pytest.mark.servers
def test_every_variable_of_the_example_is_used_and_every_used_one_is_in_the_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    assert set(re.findall(r"^#?(\w+)=", (ROOT / ".env.example").read_text(), re.M)) == used


@pytest.mark.parametrize("name", [n for n in SERVICES if n != "dcgm-exporter"])
def test_every_service_is_locked_down(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].split(":")[0] not in ("", "0", "root")
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["logging"]["options"]["max-size"]


def test_ports_are_published_on_loopback_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 4
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_images_are_pinned_by_version_tag_and_match_the_design() -> None:
    images = {service["image"] for service in SERVICES.values()}
    assert all("@" not in image and not image.endswith(":latest") and ":" in image for image in images)
    for image in ("prom/prometheus:v3.13.", "prom/alertmanager:v0.34.", "grafana/grafana:13.2."):
        assert any(i.startswith(image) for i in images)


def test_the_image_takes_nothing_from_the_repository_but_the_package() -> None:
    allowed = (ROOT / ".dockerignore").read_text().split("\n", 1)[1].split()
    assert allowed == ["*", "!pyproject.toml", "!README.md", "!LICENSE", "!exporter/training_monitor", "**/__pycache__"]


def test_the_image_says_under_which_licence_it_is_distributed() -> None:
    assert 'licenses="GPL-2.0-or-later"' in (ROOT / "exporter/Dockerfile").read_text()


class Project:
    """One `docker compose` project with its own name, ports and volumes."""

    def __init__(self, folder: Path) -> None:
        self.ports = native.Ports.free()
        names = {f"{name.upper()}_PORT": str(port) for name, port in vars(self.ports).items()}
        self.env = {**os.environ, **names, "TRAINING_LOGS": str(ROOT / "examples/nanochat")}
        self.name = f"training-monitor-test-{os.getpid()}"
        override = folder / "override.yml"
        # The demo at forty steps a second, and the templates that Debian's build of Alertmanager reads.
        services: dict[str, Any] = {
            "replay": {"entrypoint": [*SERVICES["replay"]["entrypoint"][:-1], "--rate=40"]},
        }
        if STANDINS.exists():
            templates = "/usr/share/prometheus/alertmanager"
            services["alertmanager"] = {"volumes": [f"{templates}:{templates}:ro"]}
        override.write_text(yaml.safe_dump({"services": services}))
        self.command = ["docker", "compose", "--env-file", "/dev/null", "-p", self.name, "--profile", "demo"]
        self.command += ["-f", str(COMPOSE), "-f", str(override)]

    def run(self, *arguments: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        command, env = [*self.command, *arguments], {**self.env, **env}
        done = subprocess.run(command, check=False, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
        assert not check or done.returncode == 0, done.stdout + done.stderr + self.logs()
        return done

    def logs(self, *services: str) -> str:
        command = [*self.command, "logs", "--no-log-prefix", *services]
        return subprocess.run(command, check=False, env=self.env, capture_output=True, text=True).stdout

    def inspect(self, service: str) -> dict[str, Any]:
        container = self.run("ps", "--all", "--quiet", service).stdout.strip()
        shown = subprocess.run(["docker", "inspect", container], check=True, capture_output=True, text=True)
        return dict(json.loads(shown.stdout)[0])


@pytest.fixture(scope="module")
def engine() -> None:
    """A Docker engine and the upstream images; skips where none can be had."""
    if STANDINS.exists():
        images = [s["image"] for n, s in SERVICES.items() if n in STARTED and not own(n)]
        command = [STANDINS, ROOT / ".cache/servers", *images, "python:3.13-slim"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        subprocess.run([ROOT / "stack/fetch"], check=True, capture_output=True, timeout=300)
    if not shutil.which("docker") or subprocess.run(["docker", "info"], check=False, capture_output=True).returncode:
        pytest.skip("no Docker engine runs here")


@pytest.fixture(scope="module")
def project(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The running stack, without Grafana."""
    project = Project(tmp_path_factory.mktemp("compose"))
    try:
        project.run("build", "exporter")
        project.run("up", "--detach", "--no-build", *STARTED)
        yield project
    finally:
        project.run("down", "--volumes", "--timeout=5", check=False)


@pytest.mark.docker
def test_every_service_becomes_healthy(project: Project) -> None:
    assert {name: project.inspect(name)["State"]["Health"]["Status"] for name in LASTING} == dict.fromkeys(
        LASTING, "healthy"
    )


@pytest.mark.docker
def test_no_container_runs_as_root_or_can_write_to_its_root(project: Project) -> None:
    for name in LASTING:
        assert project.run("exec", "-T", name, "id", "-u").stdout.strip() == "65534", name
        assert project.run("exec", "-T", name, "sh", "-c", "echo x > /written", check=False).returncode != 0
        host = project.inspect(name)["HostConfig"]
        assert host["ReadonlyRootfs"] is True
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["Memory"] > 0


@pytest.mark.docker
def test_no_port_is_reachable_beyond_loopback(project: Project) -> None:
    ports = [project.ports.exporter, project.ports.prometheus, project.ports.alertmanager]
    for port in ports:
        socket.create_connection(("127.0.0.1", port), 5).close()
    addresses = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)}
    addresses |= set(subprocess.run(["hostname", "-I"], check=False, capture_output=True, text=True).stdout.split())
    for address in sorted(a for a in addresses if not a.startswith("127.") and a != "::1"):
        for port in ports:
            with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
                socket.create_connection((address, port), 2).close()


@pytest.mark.docker
def test_it_says_who_is_paged_and_where_the_password_is(project: Project) -> None:
    said = project.logs("init")
    assert "slack: not configured (put its secret into alertmanager/secrets/slack_api_url)" in said
    assert "docker compose exec grafana cat /run/grafana/admin_password" in said


@pytest.mark.docker
def test_the_page_of_the_demo_arrives(project: Project) -> None:
    deadline = time.monotonic() + 120
    while "✖ CRITICAL  MFU drop in run base_train_slow-live" not in project.logs("receiver"):
        assert time.monotonic() < deadline, project.logs()
        time.sleep(1)


@pytest.mark.docker
def test_logs_that_the_containers_user_cannot_read_have_their_fix_named(project: Project, tmp_path: Path) -> None:
    logs = tmp_path / "private"
    logs.mkdir()
    logs.chmod(0o700)
    done = project.run("run", "--rm", "--no-deps", "init", check=False, TRAINING_LOGS=str(logs))
    assert done.returncode == 1
    assert f"{logs} cannot be read by user 65534: Permission denied." in done.stderr
    assert f"do: echo STACK_UID={os.getuid()} >> .env && docker compose up -d" in done.stderr
    fixed = project.run("run", "--rm", "--no-deps", "--user", str(os.getuid()), "init", TRAINING_LOGS=str(logs))
    assert fixed.returncode == 0


@pytest.mark.docker
def test_a_log_folder_that_does_not_exist_is_named(project: Project, tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    done = project.run("run", "--rm", "--no-deps", "init", check=False, TRAINING_LOGS=missing)
    assert done.returncode != 0
    assert missing in done.stderr
    assert not Path(missing).exists()
