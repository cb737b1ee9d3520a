"""Which paths lie on file systems that another machine can write to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from training_monitor.tail.mounts import Mounts

MOUNTINFO = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 27 0:30 / /data rw - autofs systemd-1 rw
31 30 0:31 / /data rw,relatime shared:3 - nfs4 server:/export rw,vers=4.2
32 31 0:32 / /data/scratch rw - xfs /dev/nvme0n1 rw
33 27 0:33 / /mnt/my\040runs rw - fuse.sshfs me@node:/runs rw
34 27 0:34 / /lustre rw - lustre mgs@tcp:/fs rw
35 27 0:35 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
36 27 0:36 / /mnt/ntfs rw - fuseblk /dev/sdb1 rw
broken line
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Mounts:
    (tmp_path / "mountinfo").write_text(MOUNTINFO)
    return Mounts.read(str(tmp_path / "mountinfo"))


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/data/run/train.log", "/data"),
        ("/data", "/data"),
        ("/data/scratch/train.log", None),
        ("/database/train.log", None),
        ("/mnt/my runs/train.log", "/mnt/my runs"),
        ("/lustre/../lustre/a/./b.log", "/lustre"),
        ("/var/lib/docker/overlay2/x/merged/train.log", None),
        ("/mnt/ntfs/train.log", None),
        ("/no/such/path", None),
    ],
)
def test_a_path_belongs_to_the_innermost_mount_around_it(mounts: Mounts, path: str, mount: str | None) -> None:
    assert mounts.network(path) == mount


def test_links_are_followed_up_to_the_network_and_not_into_it(
    mounts: Mounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").symlink_to("/data/project")
    (tmp_path / "again").symlink_to("runs")
    asked = []
    readlink = os.readlink

    def spy(path: str) -> str:
        asked.append(path)
        return readlink(path)

    monkeypatch.setattr(os, "readlink", spy)
    assert mounts.network(str(tmp_path / "again" / "train.log")) == "/data"
    assert not [path for path in asked if path.startswith("/data")]


def test_a_circle_of_links_ends(mounts: Mounts, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert mounts.network(str(tmp_path / "a" / "train.log")) is None


def test_a_machine_without_a_local_root_is_all_network() -> None:
    mounts = Mounts({"/": "nfs4", "/tmp": "tmpfs"})
    assert mounts.network("/home/me/train.log") == "/"
    assert mounts.network("/tmp/train.log") is None


def test_without_a_mount_table_everything_counts_as_local(tmp_path: Path) -> None:
    assert Mounts.read(str(tmp_path / "none")).network("/data/x") is None


def test_the_mount_table_of_this_machine_can_be_read() -> None:
    assert Mounts.read().network("/proc/self/status") is None
