"""What `Watcher` names when files change: real inotify where the machine has it, the clock elsewhere."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from training_monitor.tail.mounts import Mounts
from training_monitor.tail.watch import Watcher

DEADLINE_S = 20.0  # an event that has not come by then never comes
LOCAL = Mounts({})
NEVER_S = 3600.0

needs_inotify = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")

MakeWatcher = Callable[..., Watcher]


@pytest.fixture
def make() -> Iterator[MakeWatcher]:
    made: list[Watcher] = []

    def make_watcher(**settings: object) -> Watcher:
        defaults = {"poll_s": NEVER_S, "sweep_s": NEVER_S, "settle_s": 0.0, "mounts": LOCAL}
        made.append(Watcher(**{**defaults, **settings}))  # type: ignore[arg-type]
        return made[-1]

    yield make_watcher
    for watcher in made:
        watcher.close()


def named(watcher: Watcher) -> set[str]:
    """The next answer that names anything."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if changed := watcher.wait(1.0):
            return changed
    raise AssertionError("nothing was named")


def everything_named(watcher: Watcher) -> set[str]:
    """All that is named by what has happened so far."""
    changed = set()
    while more := watcher.wait(0.0):
        changed |= more
    return changed


def until_notified(watcher: Watcher, log: Path) -> None:
    end = time.monotonic() + DEADLINE_S
    while watcher.is_polled(str(log)):
        assert time.monotonic() < end
        watcher.wait(0.1)
    everything_named(watcher)


def append(path: Path, text: str = "line\n") -> None:
    with path.open("a") as file:
        file.write(text)


def test_a_path_just_added_is_named_at_once_and_only_once(make: MakeWatcher, tmp_path: Path) -> None:
    watcher = make()
    watcher.add(str(tmp_path / "a.log"))
    assert watcher.wait(NEVER_S) == {str(tmp_path / "a.log")}
    assert watcher.wait(0.0) == set()


def test_waiting_ends_with_nothing_after_the_time_given(make: MakeWatcher) -> None:
    assert make().wait(0.001) == set()


@needs_inotify
def test_a_written_file_is_named_and_its_neighbours_are_not(make: MakeWatcher, tmp_path: Path) -> None:
    a, b, other = tmp_path / "a.log", tmp_path / "b.log", tmp_path / "other.bin"
    for path in (a, b, other):
        path.touch()
    watcher = make()
    watcher.add(str(a))
    watcher.add(str(b))
    everything_named(watcher)
    append(other)
    append(a)
    assert everything_named(watcher) == {str(a)}


@needs_inotify
def test_creation_rename_truncation_and_deletion_are_named(make: MakeWatcher, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    watcher = make()
    watcher.add(str(log))
    everything_named(watcher)
    changes: list[Callable[[], object]] = [
        log.touch,
        lambda: log.write_text("more\n"),
        lambda: os.truncate(log, 0),
        lambda: os.rename(log, tmp_path / "a.log.1"),
        lambda: os.rename(tmp_path / "a.log.1", log),
        lambda: os.chmod(log, 0o600),
        log.unlink,
    ]
    for change in changes:
        change()
        assert everything_named(watcher) == {str(log)}


@needs_inotify
def test_a_waiting_thread_is_told_of_a_write(make: MakeWatcher, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.touch()
    watcher = make()
    watcher.add(str(log))
    everything_named(watcher)
    threading.Timer(0.01, append, [log]).start()
    assert watcher.wait(DEADLINE_S) == {str(log)}


@needs_inotify
def test_a_folder_is_named_when_something_new_appears_in_it(make: MakeWatcher, tmp_path: Path) -> None:
    known = tmp_path / "known.log"
    known.touch()
    watcher = make()
    watcher.add(str(tmp_path), is_folder=True)
    watcher.add(str(known))
    everything_named(watcher)
    append(known)
    assert everything_named(watcher) == {str(known)}
    (tmp_path / "new.log").touch()
    assert everything_named(watcher) == {str(tmp_path)}
    append(tmp_path / "new.log")
    assert everything_named(watcher) == set()


@needs_inotify
def test_both_ends_of_a_symbolic_link_are_watched_also_after_it_is_switched(make: MakeWatcher, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.log").touch()
    link = tmp_path / "latest.log"
    link.symlink_to(tmp_path / "one" / "train.log")
    watcher = make()
    watcher.add(str(link))
    everything_named(watcher)
    append(tmp_path / "one" / "train.log")
    assert everything_named(watcher) == {str(link)}
    link.unlink()
    link.symlink_to(tmp_path / "two" / "train.log")
    assert everything_named(watcher) == {str(link)}
    append(tmp_path / "two" / "train.log")
    assert everything_named(watcher) == {str(link)}


@needs_inotify
def test_a_file_whose_folder_does_not_exist_is_polled_until_it_does(make: MakeWatcher, tmp_path: Path) -> None:
    log = tmp_path / "later" / "train.log"
    watcher = make(poll_s=0.01)
    watcher.add(str(log))
    assert named(watcher) == {str(log)}
    assert watcher.is_polled(str(log))
    assert named(watcher) == {str(log)}
    log.parent.mkdir()
    until_notified(watcher, log)
    append(log)
    assert named(watcher) == {str(log)}


@needs_inotify
def test_a_folder_deleted_and_made_again_is_watched_again(make: MakeWatcher, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    log = folder / "train.log"
    watcher = make(poll_s=0.01)
    watcher.add(str(log))
    everything_named(watcher)
    shutil.rmtree(folder)
    assert named(watcher) == {str(log)}
    assert watcher.is_polled(str(log))
    folder.mkdir()
    until_notified(watcher, log)
    append(log)
    assert named(watcher) == {str(log)}


@needs_inotify
def test_a_folder_moved_away_is_not_watched_any_longer(make: MakeWatcher, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    watcher = make()
    watcher.add(str(folder / "train.log"))
    everything_named(watcher)
    os.rename(folder, tmp_path / "old")
    assert everything_named(watcher) == {str(folder / "train.log")}
    append(tmp_path / "old" / "train.log")
    assert everything_named(watcher) == set()


@needs_inotify
def test_a_removed_file_is_not_named_any_longer(make: MakeWatcher, tmp_path: Path) -> None:
    a, b = tmp_path / "a.log", tmp_path / "b.log"
    watcher = make()
    watcher.add(str(a))
    watcher.add(str(b))
    watcher.remove(str(a))
    watcher.remove(str(a))
    assert everything_named(watcher) == {str(b)}
    append(a)
    append(b)
    assert everything_named(watcher) == {str(b)}
    watcher.remove(str(b))
    append(b)
    assert everything_named(watcher) == set()


@needs_inotify
def test_when_the_kernel_loses_events_everything_is_named(make: MakeWatcher, tmp_path: Path) -> None:
    paths = [tmp_path / "a.log", tmp_path / "b.log"]
    watcher = make()
    for path in paths:
        path.touch()
        watcher.add(str(path))
    everything_named(watcher)
    queue = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if queue > 50_000:
        pytest.skip("the machine's event queue is too long to fill")
    with (tmp_path / "a.log").open("ab", buffering=0) as a, (tmp_path / "c").open("ab", buffering=0) as c:
        for _ in range(queue // 2 + 10):  # neighbouring equal events are joined, so two files in turn
            a.write(b"x")
            c.write(b"x")
    assert everything_named(watcher) == {str(path) for path in paths}


def test_many_changes_within_the_settle_time_are_one_answer(make: MakeWatcher, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.log" for i in range(20)]
    watcher = make(settle_s=0.05)
    for path in paths:
        watcher.add(str(path))
    named(watcher)
    for path in paths:
        append(path)
    assert watcher.wait(DEADLINE_S) == {str(path) for path in paths}


def test_files_on_a_network_file_system_are_named_at_every_poll(make: MakeWatcher, tmp_path: Path) -> None:
    watcher = make(poll_s=0.01, mounts=Mounts({str(tmp_path.resolve()): "nfs4"}))
    log = str(tmp_path.resolve() / "train.log")
    watcher.add(log)
    watcher.add(str(tmp_path.resolve()), is_folder=True)
    assert watcher.is_polled(log)
    named(watcher)
    assert named(watcher) == {log}  # and not the folder: listing it is dear there
    assert named(watcher) == {log}


def test_every_path_is_named_at_the_sweep(make: MakeWatcher, tmp_path: Path) -> None:
    watcher = make(sweep_s=0.01)
    paths = {str(tmp_path / "a.log"), str(tmp_path / "b.log")}
    for path in paths:
        watcher.add(path)
    assert named(watcher) == paths
    assert named(watcher) == paths


def test_wake_ends_a_wait_from_another_thread(make: MakeWatcher) -> None:
    watcher = make()
    threading.Timer(0.01, watcher.wake).start()
    assert watcher.wait(DEADLINE_S) == set()


def test_wake_ends_the_pause_after_an_answer(make: MakeWatcher, tmp_path: Path) -> None:
    watcher = make(settle_s=NEVER_S)
    watcher.add(str(tmp_path / "a.log"))
    watcher.wait(0.0)
    watcher.wake()
    assert watcher.wait(DEADLINE_S) == set()


def test_wake_before_the_wait_counts_and_a_thousand_wakes_do_not_block(make: MakeWatcher) -> None:
    watcher = make()
    for _ in range(100_000):  # more than a pipe holds
        watcher.wake()
    assert watcher.wait(DEADLINE_S) == set()


def test_wake_after_close_does_nothing(make: MakeWatcher) -> None:
    watcher = make()
    watcher.close()
    watcher.wake()
    watcher.close()


def test_without_notification_everything_is_polled_and_it_is_said(
    make: MakeWatcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "inotify_simple", None)
    watcher = make(poll_s=0.01)
    log = tmp_path / "a.log"
    watcher.add(str(log))
    assert watcher.problem == "no file notification on this system; files are polled"
    assert named(watcher) == {str(log)}
    assert named(watcher) == {str(log)}


@needs_inotify
def test_beyond_the_kernels_limit_the_rest_is_polled_and_it_is_said(
    make: MakeWatcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import inotify_simple

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(inotify_simple.INotify, "add_watch", full)
    watcher = make(poll_s=0.01)
    watcher.add(str(tmp_path / "a.log"))
    assert "max_user_watches" in str(watcher.problem)
    assert watcher.is_polled(str(tmp_path / "a.log"))
