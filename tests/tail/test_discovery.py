"""Which logs are found where, what is left alone, and what the user is told."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_monitor.tail import discovery, walk, wandb_runs
from training_monitor.tail.discovery import Found, discover
from training_monitor.tail.names import is_dull, is_specific, kind_by_name, matches, rotated_from

RUN = "run-20261122_181120-zidy7otb"


@pytest.fixture(autouse=True)
def no_running_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_runs, "being_written", lambda: iter(()))


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"step 1 | loss: 2.5\n")


def find(here: Path, *paths: str, env: Mapping[str, str] | None = None) -> Found:
    return discover(paths, env={"TMPDIR": str(here / "tmp"), **(env or {})}, cwd=str(here))


def names(here: Path, found: Found) -> list[str]:
    return [os.path.relpath(c.path, here) for c in found.candidates]


# One path


def test_a_file_named_by_itself_is_a_log_whatever_its_name(here: Path) -> None:
    make(here, "weird.name", "trackio.db", "x.wandb")
    found = find(here, "weird.name", str(here / "trackio.db"), "x.wandb")
    assert names(here, found) == ["weird.name", "trackio.db", "x.wandb"]
    assert [c.kind for c in found.candidates] == ["file", "sqlite", "wandb"]
    assert found.notes == ()


def test_a_file_that_does_not_exist_yet_is_waited_for(here: Path) -> None:
    found = find(here, "later/train.log")
    assert names(here, found) == ["later/train.log"]
    assert found.notes == ("later/train.log does not exist yet; waiting for it",)


def test_a_link_to_a_file_that_does_not_exist_yet_is_waited_for(here: Path) -> None:
    (here / "latest[1].log").symlink_to("run1.log")
    assert names(here, find(here, "latest[1].log")) == ["latest[1].log"]


def test_a_folder_that_does_not_exist_yet_is_no_log(here: Path) -> None:
    found = find(here, "runs/")
    assert found.candidates == ()
    assert found.notes == ("runs/ does not exist yet; waiting for it",)


def test_the_home_folder_is_understood_in_a_path(here: Path) -> None:
    make(here, "train.log")
    assert names(here, find(here, "~/train.log", env={"HOME": str(here)})) == ["train.log"]


def test_one_log_named_twice_is_one_log(here: Path) -> None:
    make(here, "a/train.log")
    found = find(here, "a/train.log", str(here / "a"), "./a/../a/*.log")
    assert names(here, found) == ["a/train.log"]


def test_pipes_sockets_and_devices_are_left_alone_and_it_is_said(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    os.mkfifo("fifo.log")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.log")
        found = find(here, "fifo.log", "socket.log", "/dev/null")
    assert found.candidates == ()
    assert found.skipped == {"fifo": 1, "socket": 1, "device": 1}
    assert found.notes[0] == "fifo.log is a named pipe, which is not read; write the log to a regular file"


def test_a_path_that_cannot_be_looked_at_is_said_not_raised(here: Path) -> None:
    (here / "circle").symlink_to("circle")
    found = find(here, "circle/x", "nul\0.log")
    assert found.skipped == {"unreadable": 2}
    assert found.notes == (
        "circle/x: symbolic links that lead in a circle; let the link point to the log",
        "'nul\\x00.log': embedded null byte; check the path",
    )


# A folder


def test_a_folder_gives_the_names_that_look_like_logs_in_a_stable_order(here: Path) -> None:
    make(
        here,
        "b/train.log",
        "a.out",
        "b/base_train.timed.log",
        "b/model.py",
        "README.txt",
        "c/slurm-12.err",
        "train.jsonl",
    )
    make(
        here,
        "input.txt",
        "c/trainer_log.jsonl",
        "c/metrics.csv",
        "data.csv",
        "trainer_state.json",
        "config.json",
        "x.bin",
    )
    found = find(here, ".")
    assert names(here, found) == [
        "b/base_train.timed.log",
        "b/train.log",
        "c/metrics.csv",
        "c/slurm-12.err",
        "c/trainer_log.jsonl",
        "trainer_state.json",
    ]
    assert found.skipped == {"not_a_log": 8}
    assert found.notes == (".: 6 logs",)
    assert set(found.folders) == {str(here), str(here / "b"), str(here / "c")}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("train.log", "file"),
        ("TRAIN.LOG", "file"),
        ("slurm-4711.out", "file"),
        ("two\nlines.log", "file"),
        ("log.txt", "file"),
        ("train_stdout.txt", "file"),
        ("metrics.jsonl", "file"),
        ("version_0_metrics.csv", "file"),
        ("trainer_state.step20.json", "file"),
        ("events.out.tfevents.1795371449.vm", "tfevents"),
        ("run-abc.wandb", "wandb"),
        ("mlflow.db", "sqlite"),
        ("train.py", None),
        ("requirements.txt", None),
        ("identity_conversations.jsonl", None),
        ("model_000800.pt", None),
        ("train.log.1", None),
        ("train.log.2.gz", None),
        ("log", None),
        ("a.out", None),
        (".wandb", None),
        ("core.db", None),
    ],
)
def test_names_tell_logs_from_other_files(name: str, kind: str | None) -> None:
    assert kind_by_name(name) == kind


@pytest.mark.parametrize(
    "folder",
    [
        ".git",
        ".venv",
        "venv",
        "node_modules",
        "__pycache__",
        "checkpoint-500",
        "ckpt",
        "checkpoints",
        "base_checkpoints",
    ],
)
def test_folders_of_tools_and_weights_are_not_entered(here: Path, folder: str) -> None:
    make(here, f"{folder}/train.log", "train.log")
    assert names(here, find(here, ".")) == ["train.log"]
    assert is_dull(folder)


def test_a_folder_of_that_kind_is_searched_when_it_is_named(here: Path) -> None:
    make(here, "checkpoint-500/trainer_state.json")
    assert names(here, find(here, "checkpoint-500")) == ["checkpoint-500/trainer_state.json"]


def test_a_folder_without_logs_says_what_was_looked_for(here: Path) -> None:
    make(here, "model.py")
    found = find(here, ".")
    assert found.candidates == ()
    assert found.notes[0].startswith(".: no log among 1 files; looked for *.log, *.out, *.err")


def test_what_is_no_file_in_a_folder_is_counted_by_what_it_is(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    make(here, "train.log")
    os.mkfifo("fifo.log")
    (here / "null.log").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.log")
        found = find(here, ".")
    assert names(here, found) == ["train.log"]
    assert found.skipped == {"fifo": 1, "socket": 1, "device": 1}
    assert found.notes == (".: 1 log; left alone: 1 named pipe, 1 socket and 1 device",)


def test_links_in_a_circle_end_and_every_log_is_found_once_under_its_real_name(here: Path) -> None:
    make(here, "runs/1/train.log")
    (here / "runs" / "1" / "up").symlink_to(here)
    (here / "again").symlink_to("runs")
    (here / "latest.log").symlink_to("runs/1/train.log")
    found = find(here, ".")
    assert names(here, found) == ["runs/1/train.log"]
    assert found.skipped == {"loop": 2}


def test_links_out_of_the_folder_are_followed(here: Path, tmp_path: Path) -> None:
    make(tmp_path / "scratch", "a/train.log", "other.log")
    (here / "runs").symlink_to(tmp_path / "scratch" / "a")
    (here / "other.log").symlink_to(tmp_path / "scratch" / "other.log")
    (here / "broken.log").symlink_to("nowhere")
    found = find(here, ".")
    assert names(here, found) == ["other.log", "runs/train.log"]
    assert found.skipped == {"unreadable": 1}


def test_a_folder_without_permission_is_counted(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(here, "closed/train.log", "open/train.log")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find(here, ".")
    assert names(here, found) == ["open/train.log"]
    assert found.notes == (".: 1 log; left alone: 1 unreadable file or folder",)


def test_the_search_ends_at_its_depth(here: Path) -> None:
    deep = "/".join("d" * (walk.MAX_DEPTH + 1))
    make(here, f"{deep}/train.log", f"{deep[2:]}/train.log")
    found = find(here, ".")
    assert names(here, found) == [f"{deep[2:]}/train.log"]
    assert found.skipped == {"too_deep": 1}


def test_the_search_ends_after_so_many_names(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(here, *(f"{i}.log" for i in range(20)))
    monkeypatch.setattr(walk, "MAX_ENTRIES", 10)
    found = find(here, ".")
    assert len(found.candidates) == 9
    assert "name a folder further down" in found.notes[0]


def test_of_too_many_logs_the_newest_are_taken(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "MAX_LOGS", 2)
    for i in range(4):
        make(here, f"{i}.log")
        os.utime(here / f"{i}.log", (1000 - i, 1000 - i))
    found = find(here, ".")
    assert names(here, found) == ["0.log", "1.log"]
    assert found.skipped == {"too_many": 2}


def test_a_folder_of_very_many_files_is_searched(here: Path) -> None:
    make(here, "train.log")
    for i in range(2_000):
        (here / f"shard-{i:06d}.bin").touch()
    found = find(here, ".")
    assert names(here, found) == ["train.log"]
    assert found.skipped == {"not_a_log": 2_000}


def test_a_name_with_control_codes_reaches_no_terminal(here: Path) -> None:
    found = find(here, "\x1bcred.log")
    assert found.notes == ("'\\x1bcred.log' does not exist yet; waiting for it",)


# Globs


def test_a_glob_gives_all_files_it_names_and_searches_the_folders(here: Path) -> None:
    make(here, "a/train.foo", "b/train.foo", "c/other.foo", "runs/1/train.log", "runs/1/model.py")
    assert names(here, find(here, "*/train.foo")) == ["a/train.foo", "b/train.foo"]
    assert names(here, find(here, "run*")) == ["runs/1/train.log"]


def test_a_glob_that_says_nothing_takes_what_looks_like_a_log(here: Path) -> None:
    make(here, "train.log", "model.py")
    assert names(here, find(here, "*")) == ["train.log"]


def test_two_stars_go_through_folders_and_never_round_in_circles(here: Path) -> None:
    make(here, "train.log", "a/train.log", "a/b/train.log", "a/b/model.py")
    for n in range(3):
        (here / "a" / f"circle{n}").symlink_to(here)
    found = find(here, "**/*.log")
    assert names(here, found) == ["a/b/train.log", "a/train.log", "train.log"]
    assert names(here, find(here, "a/b/**")) == ["a/b/train.log"]


def test_wildcards_in_the_name_of_the_working_folder_are_no_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "lr=[0.1]*"
    make(folder, "a/train.log", "a/b/train.log")
    assert names(folder, find(folder, "*/train.log")) == ["a/train.log"]
    assert names(folder, find(folder, "**/*.log")) == ["a/b/train.log", "a/train.log"]


def test_a_glob_may_start_at_the_root_or_above(here: Path) -> None:
    make(here, "a/train.log", "b/x")
    assert names(here, find(here, f"{here}/*/train.log")) == ["a/train.log"]
    assert names(here / "b", find(here / "b", "../*/train.log")) == ["../a/train.log"]


@given(paths=st.lists(st.text(st.sampled_from("ab*?[]!-/.~\0\n\x1b\udcff")), max_size=3))
def test_any_path_is_answered_and_raises_nothing(paths: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for module in (walk, discovery):
            patch.setattr(module, "MAX_ENTRIES", 50)
        patch.setattr(wandb_runs, "being_written", lambda: iter(()))
        make(Path(folder), "a", "b.log", "aa/b.log")
        found = discover(paths, env={"HOME": folder}, cwd=folder)
    assert all(os.path.isabs(c.path) for c in found.candidates)
    assert all(note.isprintable() for note in found.notes)


def test_older_parts_of_a_log_are_not_logs_of_their_own(here: Path) -> None:
    make(here, "train.log", "train.log.1", "train.log.2.gz", "train.log-20260101", "other.log.1")
    found = find(here, "*.log*")
    assert names(here, found) == ["other.log.1", "train.log"]
    assert found.skipped == {"rotated": 3}


def test_a_glob_that_matches_nothing_is_waited_for(here: Path) -> None:
    found = find(here, "train*.log")
    assert found.candidates == ()
    assert found.notes == ("train*.log: matches no log yet; waiting for one",)
    assert found.folders == (str(here),)


def test_a_file_whose_name_has_brackets_is_taken_literally(here: Path) -> None:
    make(here, "lr=[0.1].log")
    assert names(here, find(here, "lr=[0.1].log")) == ["lr=[0.1].log"]


@pytest.mark.parametrize(
    ("path", "pattern", "fits"),
    [
        ("train.log", "**/*.log", True),
        ("a/b/train.log", "**/*.log", True),
        ("a/b/train.log", "a/**", True),
        ("a/b/train.log", "a/*", False),
        ("a/b/c/train.log", "a/**/c/*.log", True),
        ("a/b", "**/c", False),
    ],
)
def test_patterns_are_matched_part_by_part(path: str, pattern: str, fits: bool) -> None:
    assert matches(path.split("/"), pattern.split("/")) is fits


@pytest.mark.parametrize(("pattern", "specific"), [("*.log", True), ("*", False), ("**", False), ("[ab]*", False)])
def test_a_pattern_is_specific_if_it_names_something(pattern: str, specific: bool) -> None:
    assert is_specific(pattern) is specific


@pytest.mark.parametrize(
    ("path", "log"),
    [
        ("/x/train.log.1", "/x/train.log"),
        ("/x/train.log.12.gz", "/x/train.log"),
        ("/x/train.log-20260102", "/x/train.log"),
        ("/x/train.log", None),
        ("/x/train-2.log", None),
    ],
)
def test_a_rotated_name_tells_its_log(path: str, log: str | None) -> None:
    assert rotated_from(path) == log


# W&B


def test_of_a_wandb_folder_only_the_runs_files_are_taken_newest_first(here: Path) -> None:
    old, new = "offline-run-20260101_000000-aaaa", "run-20260202_000000-bbbb"
    make(here, f"wandb/{old}/run-aaaa.wandb", f"wandb/{new}/run-bbbb.wandb", f"wandb/{new}/files/output.log")
    make(here, f"wandb/{new}/logs/debug.log", "wandb/debug-cli.root.log", f"wandb/{new}/files/wandb-summary.json")
    (here / "wandb" / "latest-run").symlink_to(new)
    (here / "wandb" / "debug.log").symlink_to(f"{new}/logs/debug.log")
    for path in ("wandb", ".", f"wandb/{new}"):
        found = find(here, path)
        assert names(here, found)[0] == f"wandb/{new}/run-bbbb.wandb"
        assert {c.kind for c in found.candidates} == {"wandb"}
    assert names(here, find(here, "wandb")) == [f"wandb/{new}/run-bbbb.wandb", f"wandb/{old}/run-aaaa.wandb"]


def test_a_hidden_wandb_folder_is_entered(here: Path) -> None:
    make(here, f".wandb/{RUN}/run-zidy7otb.wandb", ".hidden/train.log")
    assert names(here, find(here, ".")) == [f".wandb/{RUN}/run-zidy7otb.wandb"]


def test_the_cache_of_wandb_is_understood_and_the_runs_are_found_elsewhere(here: Path) -> None:
    make(here, ".cache/wandb/logs/core-debug-1.log", f"wandb/{RUN}/run-zidy7otb.wandb")
    found = find(here, "~/.cache/wandb", env={"HOME": str(here)})
    assert names(here, found) == [f"wandb/{RUN}/run-zidy7otb.wandb"]
    assert found.notes == ("~/.cache/wandb holds caches of W&B, never runs; found 1 W&B run in ./wandb",)


def test_the_cache_of_wandb_need_not_exist(here: Path) -> None:
    found = find(here, "~/.cache/wandb", env={"HOME": str(here), "WANDB_DIR": "/nowhere"})
    assert found.candidates == ()
    assert found.notes[0].startswith("~/.cache/wandb holds caches of W&B, never runs; none found in $WANDB_DIR/wandb, ")


def test_runs_that_a_process_has_open_are_found_wherever_they_are(tmp_path: Path) -> None:
    for pid, name, target in (
        ("10", "wandb-core", "/scratch/run-a.wandb"),
        ("11", "wandb-core", "/scratch/other"),
        ("12", "python", "/scratch/run-b.wandb"),
        ("self", "wandb-core", "/scratch/run-c.wandb"),
    ):
        (tmp_path / pid / "fd").mkdir(parents=True)
        (tmp_path / pid / "comm").write_text(f"{name}\n")
        (tmp_path / pid / "fd" / "3").symlink_to(target)
    (tmp_path / "13").mkdir()  # a process that ended meanwhile
    assert list(_being_written(str(tmp_path))) == ["/scratch/run-a.wandb"]


_being_written = wandb_runs.being_written  # before the fixture replaces it


def test_without_a_process_table_no_run_is_being_written(tmp_path: Path) -> None:
    assert list(_being_written(str(tmp_path / "none"))) == []


# The usual places


def test_without_a_path_one_line_says_what_was_found_where(here: Path) -> None:
    make(here, "training.log", "speedrun.log", "model.py", "logs/1.out", "log/log.txt", "deep/train.log")
    make(here, f"wandb/{RUN}/run-zidy7otb.wandb", "scratch/wandb/offline-run-20250101_000000-x/run-x.wandb")
    found = find(here, env={"WANDB_DIR": str(here / "scratch")})
    assert names(here, found) == [
        "speedrun.log",
        "training.log",
        "log/log.txt",
        "logs/1.out",
        "scratch/wandb/offline-run-20250101_000000-x/run-x.wandb",
        f"wandb/{RUN}/run-zidy7otb.wandb",
    ]
    assert found.notes == (
        "found 2 logs in this folder, 1 log in log/, 1 log in logs/, 1 W&B run in $WANDB_DIR/wandb "
        "and 1 W&B run in ./wandb",
    )


def test_without_a_path_and_without_logs_one_line_says_where_was_searched(here: Path) -> None:
    found = find(here)
    assert found.candidates == ()
    (note,) = found.notes
    assert note.startswith(f"no log found in {here} (*.log, ")
    assert note.endswith("/.wandb; name a log, a folder or a glob")
    assert found.folders == (str(here),)


def test_runs_being_written_elsewhere_are_found_without_a_path(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(here, f"far/wandb/{RUN}/run-zidy7otb.wandb")
    live = str(here / f"far/wandb/{RUN}/run-zidy7otb.wandb")
    monkeypatch.setattr(wandb_runs, "being_written", lambda: iter((live,)))
    found = find(here)
    assert [c.path for c in found.candidates] == [live]
    assert found.notes == ("found 1 W&B run in other folders, being written",)
