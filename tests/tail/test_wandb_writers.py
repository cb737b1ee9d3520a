from pathlib import Path

from training_monitor.tail.wandb_live import LOOK_S, WandbWriters


def writes(proc: Path, pid: int, *files: Path, name: str = "wandb-core") -> None:
    """A process that has files open."""
    fds = proc / str(pid) / "fd"
    fds.mkdir(parents=True)
    (proc / str(pid) / "comm").write_text(f"{name}\n")
    for n, file in enumerate(files):
        (fds / str(n)).symlink_to(file)


def stop(proc: Path, pid: int) -> None:
    (proc / str(pid)).rename(proc.parent / f"gone-{pid}")


def looks(writers: WandbWriters, paths: list[Path], times: range) -> list[list[str]]:
    return [sorted(writers.poll(map(str, paths), n * LOOK_S)) for n in times]


def test_a_writer_that_goes_is_told_once_at_the_second_look(tmp_path: Path) -> None:
    proc, run, other = tmp_path / "proc", tmp_path / "run-a.wandb", tmp_path / "run-b.wandb"
    writes(proc, 7, tmp_path / "x", run)
    writers = WandbWriters(str(proc))
    assert looks(writers, [run, other], range(3)) == [[], [], []]
    stop(proc, 7)
    assert looks(writers, [run, other], range(3, 9)) == [[], [str(run)], [], [], [], []]


def test_the_news_say_what_happened(tmp_path: Path) -> None:
    run = tmp_path / "run-a.wandb"
    writes(tmp_path / "proc", 7, run)
    writers = WandbWriters(str(tmp_path / "proc"))
    writers.poll([str(run)], 0.0)
    stop(tmp_path / "proc", 7)
    writers.poll([str(run)], 15.0)
    failure = writers.poll([str(run)], 30.0)[str(run)]
    assert (failure.kind, failure.fatal, failure.time) == ("writer_gone", True, 30.0)
    assert failure.text == "the process that wrote run-a.wandb is gone and left no exit record"


def test_between_two_looks_nothing_is_looked_at(tmp_path: Path) -> None:
    run = tmp_path / "run-a.wandb"
    writes(tmp_path / "proc", 7, run)
    writers = WandbWriters(str(tmp_path / "proc"))
    writers.poll([str(run)], 0.0)
    stop(tmp_path / "proc", 7)
    assert [writers.poll([str(run)], now) for now in (1.0, 5.0, 14.9)] == [{}, {}, {}]


def test_a_writer_that_is_only_another_process_now_is_not_gone(tmp_path: Path) -> None:
    proc, run = tmp_path / "proc", tmp_path / "run-a.wandb"
    writes(proc, 7, run)
    writers = WandbWriters(str(proc))
    looks(writers, [run], range(2))
    stop(proc, 7)
    assert looks(writers, [run], range(2, 3)) == [[]]
    writes(proc, 8, run)
    assert looks(writers, [run], range(3, 9)) == [[]] * 6


def test_a_file_that_nobody_was_seen_to_write_is_never_missed(tmp_path: Path) -> None:
    proc, run = tmp_path / "proc", tmp_path / "run-a.wandb"
    writes(proc, 7, run, name="less")
    assert looks(WandbWriters(str(proc)), [run], range(5)) == [[]] * 5
    assert looks(WandbWriters(str(tmp_path / "nowhere")), [run], range(5)) == [[]] * 5


def test_a_path_over_a_link_is_the_same_file(tmp_path: Path) -> None:
    proc, run = tmp_path / "proc", tmp_path / "run-a.wandb"
    run.touch()
    (tmp_path / "latest.wandb").symlink_to(run)
    writes(proc, 7, run)
    writers = WandbWriters(str(proc))
    latest = tmp_path / "latest.wandb"
    looks(writers, [latest], range(1))
    stop(proc, 7)
    assert looks(writers, [latest], range(1, 3)) == [[], [str(latest)]]
