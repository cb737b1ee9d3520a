"""Error lines as launchers and frameworks print them, and what follows them."""

from __future__ import annotations

import pytest

from decoding import decode
from training_monitor.parse.registry import open_decoder
from training_monitor.records import Failure

STEP = "step {}/100 | loss: 3.5 | lr: 0.001\n"
TRACEBACK = 'Traceback (most recent call last):\n  File "train.py", line 12, in <module>\n    main()\n    ^^^^^^\n'
CHILD_FAILED = TRACEBACK + "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"


def failures(text: str) -> list[Failure]:
    return [r for r in decode(open_decoder(b""), text.encode()) if isinstance(r, Failure)]


def kinds(text: str) -> list[str]:
    return [f.kind for f in failures(text)]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.90 GiB. GPU 0 has a total capacity",
            "cuda_oom",
        ),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB", "cuda_oom"),
        ("RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 7.93 GiB total capacity", "cuda_oom"),
        ("RuntimeError: CUDA driver error: out of memory", "cuda_oom"),
        ("RuntimeError: CUDA error: out of memory", "cuda_oom"),
        ("torch.OutOfMemoryError: HIP out of memory. Tried to allocate 1 GiB", "cuda_oom"),
        ("[rank0]:[rank0]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.90 GiB.", "cuda_oom"),
        ("XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory allocating 1234 bytes.", "cuda_oom"),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", "cuda_error"),
        ("  what():  CUDA error: unknown error", "cuda_error"),
        (
            "[rank0]:[rank0]:[E519 19:52:19.1 ProcessGroupNCCL.cpp:2057] [PG ID 0 Rank 0] Process group "
            "watchdog thread terminated with exception: CUDA error: an illegal memory access was encountered",
            "cuda_error",
        ),
        (
            "[rank0]:[E321 02:07:08.408271257 ProcessGroupNCCL.cpp:607] [Rank 0] Watchdog caught collective operation "
            "timeout: WorkNCCL(SeqNum=1580, OpType=ALLREDUCE, Timeout(ms)=600000) ran for 600060 milliseconds",
            "nccl_timeout",
        ),
        (
            "  6%|██| 32040/500150 [6:28:43<94:39:17,  1.37it/s, loss=2.6, v_num=95nc][E ProcessGroupNCCL.cpp:458] "
            "[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=96120)",
            "nccl_timeout",
        ),
        ("torch.distributed.DistBackendError: NCCL error in: ../ProcessGroupNCCL.cpp:1970, unhandled", "nccl_error"),
        (
            "slurmstepd: error: *** JOB 1809955 ON nid006965 CANCELLED AT 2026-04-07T08:18:54 DUE TO TIME LIMIT ***",
            "slurm_time_limit",
        ),
        (
            "slurmstepd: *** JOB 830329 CANCELLED AT 2018-08-06T17:21:44 DUE TO TIME LIMIT on n447 ***",
            "slurm_time_limit",
        ),
        (
            " 22%|██| 11/50 [1:55:26<6:49:05, 629.37s/it]slurmstepd: error: *** STEP 42221.0 ON clr1247 CANCELLED AT "
            "2022-04-14T16:20:46 DUE TO TIME LIMIT ***",
            "slurm_time_limit",
        ),
        ("slurmstepd: error: *** JOB 1 ON a CANCELLED AT 2026-04-07T08:18:54 DUE TO PREEMPTION ***", "slurm_preempted"),
        ("1: slurmstepd: error: *** JOB 1809579 ON r8i3n1 CANCELLED AT 2021-05-23T08:45:57 ***", "slurm_cancelled"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=11300781.0. Some of the step tasks", "slurm_oom"),
        ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=191.batch cgroup.", "slurm_oom"),
        ("srun: error: sdumont6156: task 0: Out Of Memory", "slurm_oom"),
        ("=>> PBS: job killed: walltime 3622 exceeded limit 3600", "pbs_time_limit"),
        ("E0330 06:18:42.131882 14 x.py:874] failed (exitcode: -15) local_rank: 0 (pid: 12) of binary: /p", "sigterm"),
        ("E0330 06:18:42.131882 14 x.py:874] failed (exitcode: -9) local_rank: 0 (pid: 12) of binary: /p", "sigkill"),
        ("E0330 06:18:42.131882 14 x.py:874] failed (exitcode: -6) local_rank: 6 (pid: 12) of binary: /p", "sigabrt"),
        ("E0330 06:18:42.131882 14 x.py:874] failed (exitcode: -11) local_rank: 6 (pid: 12) of binary: /p", "sigsegv"),
        (
            "E0330 06:18:42.131882 14 x.py:874] failed (exitcode: 1) local_rank: 6 (pid: 12) of binary: /p",
            "torchrun_failed",
        ),
        ("W0407 08:18:54.022000 79282 api.py:723] Received 15 death signal, shutting down workers", "sigterm"),
        ("exiting program after receiving SIGTERM.", "sigterm"),
        ("Killed", "sigkill"),
        ("/var/spool/slurmd/job1/slurm_script: line 28:  8156 Killed                  python3 main.py", "sigkill"),
        ("Aborted (core dumped)", "sigabrt"),
        ("Segmentation fault (core dumped)", "sigsegv"),
        ("Fatal Python error: Segmentation fault", "sigsegv"),
        (
            "[2026-01-01 00:00:00,000] [ERROR] [launch.py:325:sigkill_handler] ['python'] exits with return code = -9",
            "sigkill",
        ),
        ("mpirun noticed that process rank 3 with PID 0 on node n1 exited on signal 9 (Killed).", "sigkill"),
        ("=   KILLED BY SIGNAL: 11 (Segmentation fault)", "sigsegv"),
        ("Aborting training due to NaN loss.", "nan_abort"),
        ("Skipped 50 iterations in a row due to Overflow - Exiting training.", "nan_abort"),
    ],
)
def test_a_line_tells_its_kind(line: str, kind: str) -> None:
    assert kinds(STEP.format(1) + line + "\n") == [kind]
    assert kinds("1700000000.5 " + STEP.format(1) + "1700000000.9 " + line + "\n") == [kind]


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        ("IndexError: index 576 is out of bounds for axis 0 with size 100", "traceback"),
        ("AssertionError", "traceback"),
        ("torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised:", "traceback"),
        ("ModuleNotFoundError: No module named 'tiktoken'", "import_error"),
        (
            "ModuleNotFoundErrorModuleNotFoundError: : No module named 'tiktoken'No module named 'tiktoken'",
            "import_error",
        ),
        ("ImportError: cannot import name 'x' from 'y' (/z.py)", "import_error"),
        ("OSError: [Errno 28] No space left on device", "disk_full"),
        ("torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ", "torchrun_failed"),
        ("torch.distributed.elastic.multiprocessing.api.SignalException: Process 79282 got signal: 15", "sigterm"),
        ("ValueError: nan loss encountered", "nan_abort"),
        ("RuntimeError: CUDA driver error: out of memory", "cuda_oom"),
    ],
)
def test_a_traceback_is_told_by_its_exception(last: str, kind: str) -> None:
    found = failures(STEP.format(1) + TRACEBACK + last + "\nmore text\n")
    assert [(f.kind, f.text, f.fatal, f.line) for f in found] == [(kind, last.strip(), True, 6)]


def test_ranks_may_interleave_their_tracebacks() -> None:
    text = "".join(f"[rank{i % 3}]: {line}\n" for line in TRACEBACK.splitlines() for i in range(3))
    assert kinds(text + "[rank1]: ValueError: bad\n[rank0]: ValueError: bad\n[rank2]: ValueError: bad\n") == [
        "traceback"
    ]


def test_the_users_ctrl_c_is_no_crash_and_nothing_that_follows_it_is() -> None:
    found = failures(STEP.format(1) + "^C" + TRACEBACK + "KeyboardInterrupt\n" + CHILD_FAILED + "Killed\n")
    assert [(f.kind, f.fatal) for f in found] == [("keyboard_interrupt", False)]


def test_the_interrupt_of_the_launcher_is_the_users() -> None:
    line = "W0407 08:18:54.022000 79282 api.py:723] Received 2 death signal, shutting down workers\n"
    assert [(f.kind, f.fatal) for f in failures(line + CHILD_FAILED)] == [("keyboard_interrupt", False)]


def test_the_first_cause_is_told_and_its_followers_are_not() -> None:
    oom = "[rank3]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.90 GiB.\n"
    after = (
        "W1 Sending process 1 closing signal SIGTERM\n"
        + CHILD_FAILED
        + "srun: error: n1: task 0: Exited with exit code 1\n"
    )
    assert kinds(
        TRACEBACK + oom + oom + TRACEBACK + "ValueError: x\n" + "W1 Sending process 1 closing signal SIGTERM\n" + after
    ) == ["cuda_oom"]


def test_what_is_no_follower_is_told_beside_the_first_cause() -> None:
    text = (
        "terminate called after throwing an instance of 'c10::DistBackendError'\n"
        "  what():  CUDA error: an illegal memory access was encountered\n"
        "E1 api.py:988] failed (exitcode: -6) local_rank: 0 (pid: 1568803) of binary: /usr/bin/python3\n" + CHILD_FAILED
    )
    assert kinds(text) == ["cuda_error", "sigabrt"]


def test_a_step_after_an_error_makes_room_for_the_next() -> None:
    oom = "RuntimeError: CUDA out of memory. Tried to allocate 1 GiB\n"
    found = failures(STEP.format(1) + oom + STEP.format(2) + STEP.format(3) + oom)
    assert [(f.kind, f.line) for f in found] == [("cuda_oom", 2), ("cuda_oom", 5)]


@pytest.mark.parametrize(
    "text",
    [
        "--- Logging error ---\n" + TRACEBACK + "ValueError: I/O operation on closed file.\n",
        "Exception ignored in: <function Pool.__del__ at 0x7f>\n" + TRACEBACK + "AttributeError: x\n",
        "[W522 18:52:43.9 CUDACachingAllocator.cpp:495] memory mapping failed with OOM on device 0\n",
        "wandb: WARNING Killed by the cat that sat on the keyboard\n",
        "expandable_segments: out of memory is unlikely\n",
        "    except torch.OutOfMemoryError as error:\n",
        '        raise RuntimeError(f"CUDA error: {code}")\n',
        "I was Killed once.\nTerminated, said the judge.\nAborted missions\n",
        "UserWarning: CUDA error: handling is not compiled in\n",
        "optimizer: AdamW\nTraceback of the money: Follow it\nKeyError: not in a traceback\n",
    ],
)
def test_what_ends_nothing_is_no_failure(text: str) -> None:
    assert failures(STEP.format(1) + text + STEP.format(2)) == []


def test_the_traceback_of_a_thread_is_told_but_not_fatal() -> None:
    found = failures("Exception in thread Thread-3 (writer):\n" + TRACEBACK + "OSError: broken pipe\n" + STEP.format(1))
    assert [(f.kind, f.fatal) for f in found] == [("traceback", False)]


def test_a_traceback_that_the_end_of_the_file_cuts_off_is_told() -> None:
    assert kinds(STEP.format(1) + TRACEBACK) == ["traceback"]


def test_the_text_is_the_line_cleaned_and_bounded() -> None:
    found = failures("\x1b[31mRuntimeError: CUDA out of memory. " + "é" * 1000 + "\x1b[0m\n")
    assert found[0].text.startswith("RuntimeError: CUDA out of memory. ééé")
    assert len(found[0].text) == 500
