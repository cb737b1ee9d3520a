"""Which file systems send no notification and may hang: those that another machine can write to."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Mapping

#: Types in /proc/self/mountinfo, and all of `fuse.*`. inotify sees what this kernel writes, not what the training node
#: writes on the other side.
_NETWORK_TYPES = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "autofs", "afs", "coda", "davfs", "ncpfs"),
        *("lustre", "gpfs", "mmfs", "beegfs", "ceph", "glusterfs", "orangefs", "pvfs2", "panfs", "wekafs", "daos"),
        *("ocfs2", "gfs2", "vboxsf", "vmhgfs", "prl_fs", "fuse"),
    }
)
_MAX_LINKS = 40  # as the kernel's own limit


class Mounts:
    """The mount points of this machine at one moment, with their types."""

    def __init__(self, types: Mapping[str, str]) -> None:
        self._is_network = {point: _is_network(kind) for point, kind in types.items()}
        self._has_network = any(self._is_network.values())

    @classmethod
    def read(cls, mountinfo: str = "/proc/self/mountinfo") -> Mounts:
        """Without that file (not Linux) nothing counts as a network file system."""
        try:
            with open(mountinfo, encoding="utf-8", errors="surrogateescape") as lines:
                return cls(dict(entry for line in lines if (entry := _entry(line)) is not None))
        except OSError:
            return cls({})

    def network(self, path: str) -> str | None:
        """The network mount point that `path` leads to, None if there is none.

        Never touches a network file system, which might hang: links are resolved step by step up to its mount point.
        """
        if not self._has_network:
            return None
        here, links = "/", 0
        mount = here if self._is_network.get(here) else None
        names = deque(os.path.abspath(path).split("/"))
        while names:
            name = names.popleft()
            if name in ("", "."):
                continue
            here = os.path.dirname(here) if name == ".." else os.path.join(here, name)
            if here in self._is_network:
                mount = here if self._is_network[here] else None
            if mount is None and (target := _target(here)) is not None and links < _MAX_LINKS:
                links += 1
                here = "/" if target.startswith("/") else os.path.dirname(here)
                names.extendleft(reversed(target.split("/")))
        return mount


def _is_network(kind: str) -> bool:
    return kind in _NETWORK_TYPES or kind.startswith("fuse.")


def _entry(line: str) -> tuple[str, str] | None:
    """Mount point and type; a later line of the same point lies over the earlier one."""
    before, _, after = line.partition(" - ")
    fields, kinds = before.split(" "), after.split(" ")
    if len(fields) < 5 or not kinds[0]:
        return None
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]), kinds[0]


def _target(path: str) -> str | None:
    try:
        return os.readlink(path)
    except (OSError, ValueError):
        return None
