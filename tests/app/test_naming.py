"""What a run is called."""

import re

import pytest

from training_monitor.app.naming import run_name, unique
from training_monitor.config import NameRule


@pytest.mark.parametrize(
    ("path", "watched", "name"),
    [
        ("/logs/train.log", ["/logs/train.log"], "train"),
        ("/logs/train.log", [], "train"),
        ("/logs/gpt2/train.log", ["/logs/*/train.log"], "gpt2/train"),
        ("/logs/slurm-17.out", ["/logs/slurm-17.out"], "slurm-17"),
        ("/logs/slurm-17.err", ["/logs/slurm-17.err"], "slurm-17"),
        ("/x/wandb/offline-run-20261122_181120-zidy7otb/run-zidy7otb.wandb", ["/x"], "zidy7otb"),
        ("/x/wandb/run-20261122_181120-a-b/files/output.log", ["/x"], "a-b"),
        ("/logs/.log", ["/logs/.log"], ".log"),
    ],
)
def test_the_path_alone_gives_the_name(path, watched, name):
    assert run_name(path, watched) == name


def test_below_a_watched_folder_the_relative_path_is_the_name(tmp_path):
    assert run_name(str(tmp_path / "a" / "train.log"), [str(tmp_path)]) == "a/train"


def test_the_first_rule_that_matches_decides():
    rules = [
        NameRule(re.compile(r"/runs/(?P<run>[^/]+)/rank(?P<rank>\d)?"), "{run}-{rank}"),
        NameRule(re.compile(""), "other"),
    ]
    assert run_name("/runs/big/rank0.log", [], rules) == "big-0"
    assert run_name("/runs/big/rank.log", [], rules) == "big-"
    assert run_name("/elsewhere/x.log", [], rules) == "other"


def test_equal_names_get_as_many_parents_as_they_need():
    assert unique("train", "/a/b/train.log", set()) == "train"
    assert unique("train", "/a/b/train.log", {"train"}) == "b/train"
    assert unique("train", "/a/b/train.log", {"train", "b/train"}) == "a/b/train"
    assert unique("train", "/train.log", {"train", "/train"}) == "train#2"
