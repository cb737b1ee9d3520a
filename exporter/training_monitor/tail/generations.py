"""Which files a log was rotated to, by name. pygtail knows the newest; we add the generations before it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from pygtail import Pygtail

_NUMBERED = re.compile(r"\.(\d{1,4})(\.gz)?")
_DATED = re.compile(r"[-._](\d{4}-?\d{2}-?\d{2}[-_.T:\d]*?)(\.gz)?")


class _Names(Pygtail):  # type: ignore[misc]
    """pygtail's search for rotated names and nothing else of it: it opens, writes and prints nothing."""

    def __init__(self, path: str) -> None:
        super().__init__(path, offset_file=os.devnull)  # exists and is empty: "no offset yet"

    def __del__(self) -> None:  # the base class would open the log to close it
        pass

    def newest(self) -> str | None:
        try:
            name: str | None = self._check_rotated_filename_candidates()
        except OSError:  # renamed while it looked
            return None
        return name


class File(NamedTuple):
    """A rotated file and what tells whether it is still the same."""

    path: str
    inode: int = 0
    size: int = 0
    mtime_ns: int = 0


def generations(path: str) -> list[list[File]]:
    """Existing rotated files of `path`: for each naming scheme, the newest first."""
    found = []
    for name in dict.fromkeys((path, os.path.realpath(path))):  # a symbolic link, and where it leads
        schemes = _schemes(name)
        newest = _Names(name).newest()
        if newest is not None and all(newest != known.path for scheme in schemes for known in scheme):
            schemes.append([File(newest)])
        found += schemes
    return found


def _schemes(path: str) -> list[list[File]]:
    folder, base = os.path.split(path)
    numbered: dict[int, File] = {}
    dated: dict[str, File] = {}
    for file in sorted(_beginning_with(base, folder)):  # "x.1" before "x.1.gz", perhaps still in the making
        name = os.path.basename(file.path)
        if match := _NUMBERED.fullmatch(name, len(base)):
            numbered.setdefault(int(match[1]), file)
        elif match := _DATED.fullmatch(name, len(base)):
            dated.setdefault(match[1], file)
    schemes = [numbered[n] for n in sorted(numbered)], [dated[d] for d in sorted(dated, reverse=True)]
    return [scheme for scheme in schemes if scheme]


def _beginning_with(base: str, folder: str) -> Iterator[File]:
    with suppress(OSError), os.scandir(folder or ".") as entries:  # gone, or no permission to list it
        for entry in entries:
            if entry.name.startswith(base) and entry.name != base:
                with suppress(OSError):
                    status = entry.stat()
                    yield File(os.path.join(folder, entry.name), status.st_ino, status.st_size, status.st_mtime_ns)
