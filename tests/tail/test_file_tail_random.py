"""Any sequence of what happens to logs: what is delivered is what was written, and what is lost is what must be."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from training_monitor.tail.file import FileTail

SIZES = st.sampled_from([1, 7, 60, 700, 1023, 1024, 1025, 5000])
LIMITS = st.sampled_from([30, 512, 1023, 1024, 1 << 20])  # of fewer bytes, two files may have the same


class LogHistory(RuleBasedStateMachine):
    """A writer, a rotator and a reader that may restart at any time.

    A stream is what belongs together: it goes on through rotation and ends when the log is truncated or replaced.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.log = os.path.join(self.folder, "train.log")
        self.streams = [b""]  # as written
        self.got = [b""]  # as delivered, in the order of delivery; "replaced" begins the next
        self.lines = 0
        self.is_rotated = False  # since the reader was last at the end
        self.is_replaced = False  # since the reader was last at the end
        self.tail = FileTail(self.log)

    def teardown(self) -> None:
        try:
            self.read_to_the_end()
        finally:
            self.tail.close()
            shutil.rmtree(self.folder)
        assert self.got[-1] == self.streams[-1] or not self.streams[-1]

    @initialize()
    def begin(self) -> None:
        """The reader sees the log before anything happens to it: it cannot know of older files."""
        self.append(60)
        self.read_to_the_end()

    @rule(size=SIZES)
    def append(self, size: int) -> None:
        data = self.text(size)
        self.streams[-1] += data
        with open(self.log, "ab") as file:
            file.write(data)

    def text(self, size: int) -> bytes:
        """Lines that never come again."""
        self.lines += 1
        return (b"step %06d loss\n" % self.lines * (1 + size // 17))[-max(size, 17) :]

    @rule(limit=LIMITS)
    def read(self, limit: int) -> None:
        chunk = self.tail.read(limit)
        if chunk is None:
            return
        assert 0 < len(chunk.data) <= limit
        if chunk.change == "replaced":
            self.got.append(b"")
        self.got[-1] += chunk.data

    @rule()
    def read_to_the_end(self) -> None:
        while (chunk := self.tail.read()) is not None:
            if chunk.change == "replaced":
                self.got.append(b"")
            self.got[-1] += chunk.data
        if os.path.exists(self.log) and os.path.getsize(self.log):
            self.is_rotated = self.is_replaced = False

    @rule()
    def restart(self) -> None:
        state = json.loads(json.dumps(self.tail.state()))
        self.tail.close()
        self.tail = FileTail(self.log)
        self.tail.restore(state)

    @rule()
    def close(self) -> None:
        self.tail.close()

    @precondition(lambda self: not self.is_replaced and os.path.exists(self.log))
    @rule(size=SIZES, packed=st.booleans())
    def rotate(self, size: int, packed: bool) -> None:
        """logrotate's create: with `delaycompress` where packed."""
        self.shift()
        os.rename(self.log, f"{self.log}.1")
        if packed and os.path.exists(f"{self.log}.2"):
            self.pack(f"{self.log}.2")
        self.append(size)
        self.is_rotated = True

    @precondition(lambda self: not self.is_replaced and os.path.exists(self.log))
    @rule(size=SIZES)
    def copy_and_truncate(self, size: int) -> None:
        self.shift()
        shutil.copy(self.log, f"{self.log}.1")
        os.truncate(self.log, 0)
        self.append(size)
        self.is_rotated = True

    def shift(self) -> None:
        for n in range(99, 0, -1):
            for ending in ("", ".gz"):
                if os.path.exists(f"{self.log}.{n}{ending}"):
                    os.rename(f"{self.log}.{n}{ending}", f"{self.log}.{n + 1}{ending}")

    def pack(self, path: str) -> None:
        with open(path, "rb") as plain, gzip.open(f"{path}.gz", "wb", compresslevel=1) as packed:
            shutil.copyfileobj(plain, packed)
        shutil.copystat(path, f"{path}.gz")
        os.unlink(path)

    @precondition(lambda self: not self.is_rotated)
    @rule(size=SIZES)
    def rewrite(self, size: int) -> None:
        """A new run into the same file, which may become longer than it was."""
        self.replace_stream(size, "wb")

    @precondition(lambda self: not self.is_rotated)
    @rule(size=SIZES)
    def delete_and_make_again(self, size: int) -> None:
        os.unlink(self.log)
        self.replace_stream(size, "wb")

    @precondition(lambda self: not self.is_rotated)
    @rule()
    def truncate(self) -> None:
        os.truncate(self.log, 0)
        self.streams.append(b"")
        self.is_replaced = True

    def replace_stream(self, size: int, mode: str) -> None:
        data = self.text(size)
        with open(self.log, mode) as file:
            file.write(data)
        self.streams.append(data)
        self.is_replaced = True

    @precondition(lambda self: not self.is_rotated and not self.is_replaced)
    @rule()
    def copy_elsewhere_and_back(self) -> None:
        """rsync: the same bytes in another file."""
        shutil.copy(self.log, f"{self.folder}/copy")
        os.replace(f"{self.folder}/copy", self.log)

    @invariant()
    def every_delivered_stream_is_the_beginning_of_a_written_one(self) -> None:
        written = iter(self.streams)
        for got in self.got:
            assert any(stream.startswith(got) for stream in written), "doubled, mixed up or lost in the middle"

    @invariant()
    def nothing_is_said_to_be_wrong(self) -> None:
        assert self.tail.problem is None


LogHistory.TestCase.settings = settings(
    max_examples=80, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_whatever_happens_to_a_log_nothing_is_doubled_and_only_replaced_content_is_lost = LogHistory.TestCase
