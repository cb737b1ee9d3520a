from pathlib import Path

import pytest

from training_monitor.errors import UsageError
from training_monitor.tail.wandb_address import Address, address, api_key

KEY, OTHER = "a" * 40, "b" * 40


CLOUD, FORGE, BOX = "https://api.wandb.ai", "https://api.forge.coreweave.com", "http://box:8080"


@pytest.mark.parametrize(
    ("text", "base_url", "server"),
    [
        ("me/llm/abc", "", CLOUD),
        (" me/llm/runs/abc/ ", "", CLOUD),
        ("https://wandb.ai/me/llm/runs/abc/overview?nw=1#x", "", CLOUD),
        ("https://wandb.ai/me/llm/runs/abc", "https://x.y", CLOUD),
        ("https://forge.coreweave.com/wandb/me/llm/runs/abc", "", FORGE),
        ("https://acme.wandb.io/me/llm/runs/abc", "", "https://acme.wandb.io"),
        ("http://box:8080/me/llm/runs/abc", "", BOX),
        ("me/llm/abc", "http://box:8080/", BOX),
        ("me/llm/abc", "https://wandb.ai", CLOUD),
    ],
)
def test_a_run_is_named_by_path_or_url(text: str, base_url: str, server: str) -> None:
    env = {"HOME": "/nonexistent", "WANDB_BASE_URL": base_url}
    assert address(text, env) == Address(server, "me", "llm", "abc")


def test_names_may_hold_blanks() -> None:
    assert address("https://wandb.ai/me/my%20llm/runs/abc", {}).project == "my llm"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "me/llm",
        "me/llm/a/b",
        "https://wandb.ai/me/llm",
        "ftp://x/a/b/c",
        "https://u:p@x/a/b/runs/c",
    ],
)
def test_what_names_no_run_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="--wandb"):
        address(text, {"HOME": "/nonexistent"})


@pytest.mark.parametrize("url", ["x", "ftp://x", "http://api.wandb.ai", "https://user:secret@x"])
def test_a_base_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="WANDB_BASE_URL") as refused:
        address("me/llm/abc", {"WANDB_BASE_URL": url})
    assert "secret" not in str(refused.value)


def test_the_settings_of_wandb_login_name_the_server(tmp_path: Path) -> None:
    folder = tmp_path / ".config" / "wandb"
    folder.mkdir(parents=True)
    (folder / "settings").write_text("[default]\nbase_url = https://box.example\n")
    assert address("me/llm/abc", {"HOME": str(tmp_path)}).base_url == "https://box.example"
    (folder / "settings").write_bytes(b"\xff no settings")
    assert address("me/llm/abc", {"HOME": str(tmp_path)}).base_url == "https://api.wandb.ai"


def test_the_key_comes_from_the_environment_before_netrc(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text(f"machine box.example login user password {OTHER}\n")
    home = {"HOME": str(tmp_path)}
    assert api_key("box.example", {**home, "WANDB_API_KEY": f" {KEY}\n"}) == KEY
    assert api_key("box.example", home) == OTHER
    assert api_key("other.example", home) is None
    assert api_key("box.example", {**home, "WANDB_API_KEY": "two words"}) is None


def test_both_names_of_the_cloud_share_a_key(tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine api.forge.coreweave.com login user password {KEY}\n")
    env = {"HOME": "/nonexistent", "NETRC": str(netrc)}
    assert api_key("api.wandb.ai", env) == KEY
    netrc.write_text(f"machine api.wandb.ai login user password {KEY}\n")
    assert api_key("api.forge.coreweave.com", env) == KEY


@pytest.mark.parametrize("content", ["default login me password secret\n", "machine", "", "\udcff"])
def test_other_entries_and_broken_files_give_no_key(tmp_path: Path, content: str) -> None:
    (tmp_path / "_netrc").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert api_key("api.wandb.ai", {"HOME": str(tmp_path)}) is None


def test_an_address_shows_no_more_than_its_run() -> None:
    assert str(address("me/llm/abc", {})) == "me/llm/abc"
