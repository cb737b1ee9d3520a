"""Files that are written anew as a whole: which of their rows have been told already.

Lightning's CSVLogger rewrites metrics.csv when a new column appears, HF Trainer writes its whole history at every
checkpoint. The rows up to where reading stopped come again and must not count twice.
"""

from __future__ import annotations

from zlib import crc32

from training_monitor.state import Stateful

REMEMBERED = 2048  # rows that are compared one by one; later ones are taken as equal when these are


class SeenRows(Stateful):
    """Tells old rows from new ones by their place and content.

    Lossy cases: a row that equals the one that stood in its place is an old one, so a run that starts anew with the
    very same first rows loses those; two rows of equal checksum are the same (1 in 4e9).
    """

    __slots__ = ("at", "checksums", "count")

    def __init__(self) -> None:
        self.checksums: list[int] = []  # of the first rows
        self.count = 0  # rows told
        self.at = 0  # rows of the present file so far

    @property
    def compares(self) -> bool:
        """Whether the content of the next row matters."""
        return self.at < REMEMBERED

    def rewind(self) -> None:
        """The file begins again."""
        self.at = 0

    def is_new(self, row: bytes) -> bool:
        """Whether the next row of the file has not been told. `row`: what does not change when a file is rewritten."""
        at, self.at = self.at, self.at + 1
        if at >= REMEMBERED and at < self.count:
            return False
        checksum = crc32(row) if at < REMEMBERED else 0
        if at < self.count:
            if self.checksums[at] == checksum:
                return False
            del self.checksums[at:]  # from here on it is another history
        if at < REMEMBERED:
            self.checksums.append(checksum)
        self.count = at + 1
        return True
