"""Who is told what, and what the message says."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from real import ROOT, every, load, succeeds

CONFIG = ROOT / "alertmanager/alertmanager.yml"
HERE = Path(__file__).parent
ALERTS = [
    (rule["alert"], rule["labels"]["severity"])
    for group in yaml.safe_load((ROOT / "prometheus/rules/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
SECRETS = {file.stem: yaml.safe_load(file.read_text())["secret"] for file in ROOT.glob("alertmanager/receivers/*.yml")}


render = load("alertmanager/render.py")


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A folder in which every secret is in place."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    for name in SECRETS.values():
        (folder / name).write_text("https://hooks.invalid/secret\n")
    return folder


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A copy of alertmanager/ in which the e-mail addresses are the user's own."""
    folder = tmp_path / "alertmanager"
    (folder / "receivers").mkdir(parents=True)
    (folder / "alertmanager.yml").write_text(CONFIG.read_text())
    for file in ROOT.glob("alertmanager/receivers/*.yml"):
        (folder / "receivers" / file.name).write_text(file.read_text().replace("example.com", "lab.example"))
    (folder / "templates").mkdir()
    for file in ROOT.glob("alertmanager/templates/*.tmpl"):
        (folder / "templates" / file.name).write_text(file.read_text())
    return folder


@pytest.mark.servers
def test_the_configuration_is_valid_without_any_secret() -> None:
    for amtool in every("amtool"):
        succeeds(amtool, "check-config", CONFIG)


@pytest.mark.servers
def test_the_configuration_is_valid_with_every_receiver(secrets: Path, here: Path, tmp_path: Path) -> None:
    for amtool in every("amtool"):
        version = re.findall(r"version (\d+\.\d+)", succeeds(amtool, "--version"))[0]
        config, told = render.render(secrets, here=here, version=version)
        render.write(config, tmp_path / "out.yml")
        succeeds(amtool, "check-config", tmp_path / "out.yml")
        assert len(config["receivers"][0]) >= 5, told


@pytest.mark.servers
@pytest.mark.parametrize(("alert", "severity"), ALERTS)
def test_critical_alerts_page_and_warnings_are_told(alert: str, severity: str) -> None:
    receiver = {"critical": "page", "warning": "notify"}[severity]
    labels = [f"alertname={alert}", f"severity={severity}", "run=d20", "instance=gpu1:10042"]
    for amtool in every("amtool"):
        succeeds(
            amtool, "config", "routes", "test", f"--config.file={CONFIG}", f"--verify.receivers={receiver}", *labels
        )


@pytest.mark.servers
def test_a_message_says_what_since_when_how_bad_what_to_do_and_where_to_look() -> None:
    text = '{{ template "training.title" . }}\n\n{{ template "training.text" . }}'
    for amtool in every("amtool"):
        templates = f"--template.glob={ROOT}/alertmanager/templates/*.tmpl"
        data = f"--template.data={HERE}/page.json"
        shown = succeeds(amtool, "template", "render", templates, f"--template.text={text}", data)
        assert shown.strip() == (HERE / "page.txt").read_text().strip()


def test_inhibition_names_alerts_that_exist_and_none_holds_back_itself() -> None:
    known = {name for name, _ in ALERTS}
    for rule in yaml.safe_load(CONFIG.read_text())["inhibit_rules"]:
        source = set(re.findall(r"Training\w+", " ".join(rule["source_matchers"])))
        target = set(re.findall(r"Training\w+", " ".join(rule["target_matchers"])))
        assert source | target <= known
        assert not source & target
        assert {"instance", "run"} <= set(rule["equal"])


def test_without_secrets_each_receiver_says_what_it_needs(tmp_path: Path) -> None:
    config, told = render.render(tmp_path)
    assert told == [
        f"{name}: not configured (put its secret into {tmp_path}/{SECRETS[name]})" for name in sorted(SECRETS)
    ]
    own = {"webhook_configs": [{"url": "http://receiver:10043/"}]}
    assert config["receivers"] == [{"name": "page", **own}, {"name": "notify", **own}]


def test_a_secret_file_enables_its_receiver_and_is_named_not_copied_into_the_configuration(
    secrets: Path, here: Path
) -> None:
    config, told = render.render(secrets, here=here)
    assert told == [f"{name}: configured" for name in sorted(SECRETS)]
    assert "hooks.invalid" not in str(config)
    page, notify = config["receivers"]
    assert page["pagerduty_configs"][0]["routing_key_file"] == str(secrets / "pagerduty_routing_key")
    assert "pagerduty_configs" not in notify
    assert [hook.get("url_file") for hook in notify["webhook_configs"]] == [None, str(secrets / "webhook_url")]


def test_copied_secrets_can_be_read_by_alertmanagers_own_user_and_old_ones_go(
    secrets: Path, here: Path, tmp_path: Path
) -> None:
    copies = tmp_path / "copies"
    render.render(secrets, here=here, copies=copies)
    (secrets / "webhook_url").unlink()
    config, _ = render.render(secrets, here=here, copies=copies)
    assert sorted(f.name for f in copies.iterdir()) == ["pagerduty_routing_key", "slack_api_url", "smtp_password"]
    assert all(f.stat().st_mode & 0o777 == 0o444 for f in copies.iterdir())
    assert str(copies / "slack_api_url") in str(config)


def test_an_empty_secret_is_named(secrets: Path, here: Path) -> None:
    (secrets / "slack_api_url").write_text("\n")
    _, told = render.render(secrets, here=here)
    assert f"slack: not configured: {secrets}/slack_api_url is empty" in told


def test_a_secret_that_cannot_be_read_is_named_with_the_fix(
    secrets: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path.read_text

    def read_text(path: Path, **how: Any) -> str:
        if path.name == "slack_api_url":
            raise PermissionError(13, "Permission denied")
        return whole(path, **how)

    os.chown(secrets / "slack_api_url", 1234, -1) if os.getuid() == 0 else None
    monkeypatch.setattr(Path, "read_text", read_text)
    _, told = render.render(secrets, here=here)
    expected = f"slack: not configured: {secrets}/slack_api_url cannot be read by user {os.getuid()}: Permission denied"
    fix = "; in Docker: echo STACK_UID=1234 >> .env && docker compose up -d" if os.getuid() == 0 else ""
    assert expected + fix in told


def test_a_folder_in_place_of_a_secret_is_named(secrets: Path, here: Path) -> None:
    (secrets / "slack_api_url").unlink()
    (secrets / "slack_api_url").mkdir()
    _, told = render.render(secrets, here=here)
    assert any("slack_api_url cannot be read" in line and "Is a directory" in line for line in told)


def test_the_example_addresses_are_no_configuration(secrets: Path) -> None:
    _, told = render.render(secrets)
    assert "email: not configured: set your own addresses in alertmanager/receivers/email.yml" in told


def test_what_an_old_alertmanager_does_not_know_is_left_out(secrets: Path, here: Path) -> None:
    _, told = render.render(secrets, here=here, version="0.25.0")
    assert "webhook: not configured: needs Alertmanager 0.26 or later, this is 0.25.0" in told


def test_the_configuration_is_replaced_at_once_and_says_who_wrote_it(tmp_path: Path, capsys: Any) -> None:
    output = tmp_path / "new" / "alertmanager.yml"
    assert render.main([str(output), "--secrets", str(tmp_path), "--receiver", "http://127.0.0.1:1/"]) == 0
    assert output.read_text().startswith("# Written by alertmanager/render.py")
    assert "http://127.0.0.1:1/" in output.read_text()
    assert [f.name for f in output.parent.iterdir()] == ["alertmanager.yml"]
    assert "slack: not configured" in capsys.readouterr().out
