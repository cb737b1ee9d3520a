"""One file that holds a piece of a log, open for reading at any place: plain, or compressed with gzip."""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import zlib

from training_monitor.tail.problem import NotAFile

WINDOW = 1024  # bytes that make a place recognisable; more than any header line that two runs share
MAX_UNPACKED = 1 << 30  # bytes taken out of one compressed file: a log, not a decompression bomb

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Part:
    """An open regular file. Its `identity` holds while it is open: nobody else can get its inode number."""

    __slots__ = ("_file", "_unpacked", "identity", "mtime", "size")

    def __init__(self, file: io.FileIO, unpacked: gzip.GzipFile | None) -> None:
        self._file = file
        self._unpacked = unpacked
        self.refresh()

    @classmethod
    def open(cls, path: str) -> Part:
        """Never blocks on a pipe or device. Raises OSError."""
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise NotAFile(path, mode)  # not even opened: for some devices that is an act
        file = io.FileIO(os.open(path, _FLAGS))
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            file.close()
            raise NotAFile(path, mode)
        return cls(file, gzip.GzipFile(fileobj=io.BufferedReader(file)) if path.endswith(".gz") else None)

    def refresh(self) -> None:
        """Looks again at size and time of the file, whatever its name is by now."""
        now = os.fstat(self._file.fileno())
        self.identity = (now.st_dev, now.st_ino)
        self.mtime = now.st_mtime
        self.size = now.st_size  # of the compressed file where it is one

    @property
    def is_packed(self) -> bool:
        return self._unpacked is not None

    def may_hold(self, offset: int, size: int) -> bool:
        """Whether the file can be `size` bytes long, and a packed one can be read up to `offset`."""
        return offset <= MAX_UNPACKED if self.is_packed else size <= self.size

    def read(self, offset: int, n: int) -> bytes:
        """At most `n` bytes from `offset`; fewer at the end. A damaged archive ends where the damage begins."""
        if self._unpacked is None:
            return os.pread(self._file.fileno(), n, offset)
        pieces = []
        n = min(n, MAX_UNPACKED - offset)
        try:
            self._unpacked.seek(offset)
            while n > 0 and (piece := self._unpacked.read1(n)):
                pieces.append(piece)
                n -= len(piece)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            pass
        return b"".join(pieces)

    def end_of_hole(self, offset: int) -> int | None:
        """Where data begins at or after `offset`; None: nowhere. Truncating under a writer that seeks leaves a hole."""
        if self.is_packed:
            return offset
        try:
            data = os.lseek(self._file.fileno(), offset, os.SEEK_DATA)
        except OSError as error:
            return None if error.errno == errno.ENXIO else offset  # other errors: the file system cannot tell
        if data == offset:
            return offset
        block = os.pread(self._file.fileno(), 1 << 16, data)  # holes end at a block, the NULs a little later
        return data + len(block) - len(block.lstrip(b"\0"))

    def close(self) -> None:
        if self._unpacked is not None:
            self._unpacked.close()
        self._file.close()
