"""Error lines of all launchers and frameworks: what ended a run, first cause first.

A kind is told once until the next step. `FOLLOWERS` are what the other ranks and the launcher say after the cause: told
only if nothing was told before. After a user's Ctrl-C nothing is. A Python traceback is told when its last line, the
exception, has come. Sources of the texts: PyTorch (elastic, ProcessGroupNCCL, CUDA allocator), SLURM, PBS, bash, JAX.
"""

from __future__ import annotations

import re

from training_monitor.records import Failure
from training_monitor.state import Stateful

TEXT = 500  # characters of the line that are kept
_PATIENCE = 400  # lines of a traceback, other ranks' in between, until its exception must have come

FOLLOWERS = ("traceback", "sigterm", "torchrun_failed", "launcher_failed")

_SIGNALS = {
    b"1": "sighup",
    b"2": "keyboard_interrupt",
    b"6": "sigabrt",
    b"9": "sigkill",
    b"11": "sigsegv",
    b"15": "sigterm",
}

#: A text that is in every line of the kind, a pattern for the whole of it, and the kind; the first that fits counts.
#: Group 1 of a pattern with kind "" is a signal number or an exit code.
MARKERS: tuple[tuple[bytes, re.Pattern[bytes], str], ...] = tuple(
    (text, re.compile(pattern), kind)
    for text, pattern, kind in (
        (
            b"ut of memory",
            rb"(?:Error|what\(\)|exception): {1,2}(?:[\w.]{0,40}Error: )?"
            rb"(?:CUDA|HIP|XPU|NPU|MPS)[\w :]{0,30} out of memory"
            rb"|RESOURCE_EXHAUSTED: Out of memory",
            "cuda_oom",
        ),
        (b"OutOfMemoryError: ", rb"(?:torch|cuda)\.OutOfMemoryError: ", "cuda_oom"),
        (
            b"CUDA error: ",
            rb"(?:Error|what\(\)|exception): {1,2}(?:[\w.]{0,40}Error: )?CUDA error: (?!out of mem)\w|^CUDA error: \w",
            "cuda_error",
        ),
        (b"HIP error: ", rb"Error: HIP error: \w", "cuda_error"),
        (b"collective operation timeout", rb"Watchdog caught collective operation timeout: \w", "nccl_timeout"),
        (b"NCCL", rb"Error: NCCL error in: |NCCL communicator was aborted", "nccl_error"),
        (b"CANCELLED AT", rb"slurmstepd: .{0,200}CANCELLED AT \S+ DUE TO TIME LIMIT", "slurm_time_limit"),
        (b"CANCELLED AT", rb"slurmstepd: .{0,200}CANCELLED AT \S+ DUE TO PREEMPTION", "slurm_preempted"),
        (b"CANCELLED AT", rb"slurmstepd: .{0,200}CANCELLED AT \S+ DUE TO NODE FAILURE", "slurm_node_failure"),
        (b"CANCELLED AT", rb"slurmstepd: .{0,200}CANCELLED AT \S+", "slurm_cancelled"),
        (b"slurmstepd: ", rb"slurmstepd: error: Detected \d+ oom[-_]kill event", "slurm_oom"),
        (b"srun: error: ", rb"srun: error: \S+ tasks? \S+: Out Of Memory", "slurm_oom"),
        (b"srun: error: ", rb"srun: error: \S+ tasks? \S+: (?:Exited with exit code|Terminated)", "launcher_failed"),
        (b"PBS: job killed: walltime", rb"=>> PBS: job killed: walltime \d", "pbs_time_limit"),
        (b"failed (exitcode: ", rb"failed \(exitcode: -(\d{1,2})\) local_rank: \d", ""),
        (b"failed (exitcode: ", rb"failed \(exitcode: \d{1,3}\) local_rank: \d", "torchrun_failed"),
        (b"exits with return code = ", rb"exits with return code = -(\d{1,2})$", ""),
        (b"exits with return code = ", rb"exits with return code = \d{1,3}$", "launcher_failed"),
        (b"exited on signal ", rb"mpirun noticed that process rank .{0,200} exited on signal (\d{1,2})", ""),
        (b"KILLED BY SIGNAL: ", rb"KILLED BY SIGNAL: (\d{1,2})", ""),
        (b"due to Overflow", rb"Skipped \d{1,6} iterations in a row due to Overflow - Exiting training", "nan_abort"),
        (b"got signal: ", rb"Process \d+ got signal: (\d{1,2})", ""),
        (b" death signal, ", rb"Received (\d{1,2}) death signal, shutting down", ""),
        (b"SIGTERM", rb"^exiting program after receiving SIGTERM", "sigterm"),
        (b"Killed", rb"^Killed$|: line \d+: +\d+ Killed(?: |$)", "sigkill"),
        (b"Terminated", rb"^Terminated$|: line \d+: +\d+ Terminated(?: |$)", "sigterm"),
        (
            b"Aborted",
            rb"^Aborted(?: \(core dumped\))?$|: line \d+: +\d+ Aborted |^Fatal Python error: Aborted",
            "sigabrt",
        ),
        (
            b"egmentation fault",
            rb"^Segmentation fault|: line \d+: +\d+ Segmentation fault|^Fatal Python error: Seg",
            "sigsegv",
        ),
        (b"Signal 6 (SIGABRT)", rb"Signal 6 \(SIGABRT\) received by PID", "sigabrt"),
        (b"Aborting training due to ", rb"Aborting training due to (?:NaN|Inf) loss", "nan_abort"),
        (b"KeyboardInterrupt", rb"^KeyboardInterrupt\b", "keyboard_interrupt"),
    )
)

#: What the exception of a traceback says about the cause, by its name or text.
_EXCEPTIONS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"KeyboardInterrupt"), "keyboard_interrupt"),
    (re.compile(rb"(?:\w*ModuleNotFoundError|ImportError):"), "import_error"),
    (re.compile(rb"[\w.]*ChildFailedError\b"), "torchrun_failed"),
    (re.compile(rb"OSError: \[Errno 28\]"), "disk_full"),
    (re.compile(rb"ValueError: nan loss encountered"), "nan_abort"),
)
#: Every kind of failure that a text log can tell.
KINDS = tuple(
    sorted(
        {kind for _, _, kind in MARKERS if kind} | {kind for _, kind in _EXCEPTIONS} | {*_SIGNALS.values(), *FOLLOWERS}
    )
)
_FRONT = re.compile(rb"(?:(\d{9,10}(?:\.\d{1,9})?) )?(?:\[[A-Za-z_]{0,20}\d{1,5}\]:? ?|\d{1,5}: (?! ))*")
_EXCEPTION = re.compile(rb"(?:[a-z_]\w{0,80}\.){0,12}[A-Z]\w{0,120}(?:: |:$|$)")
_TRACEBACK = b"Traceback (most recent call last)"
#: In front of a traceback that ends nothing.
_HARMLESS = (b"--- Logging error ---", b"Exception ignored in")
#: The texts of MARKERS without those that hold another one.
_TEXTS = tuple({text for text, _, _ in MARKERS if not any(t in text for t, _, _ in MARKERS if t != text)})


def _marked(line: bytes) -> str | None:
    for text, pattern, kind in MARKERS:
        if text in line and (match := pattern.search(line)):
            return kind or _SIGNALS.get(match[1], "torchrun_failed")
    return None


class Markers(Stateful):
    """Reads the lines that are no step lines, in order."""

    __slots__ = ("harmless", "is_thread", "known", "patience")

    def __init__(self) -> None:
        self.known: list[str] = []  # kinds told since the last step
        self.patience = 0  # lines that the begun traceback may still take; 0: none is open
        self.harmless = False  # the next traceback ends nothing
        self.is_thread = False  # the open traceback is that of a thread

    def step(self) -> None:
        """Training goes on."""
        if self.known:
            self.known = []
        self.patience = 0

    def scan(self, line: bytes, number: int, time: float | None = None) -> Failure | None:
        """What `line` (without escapes, with prefix and indentation) says about an end."""
        front = _FRONT.match(line)
        kind = self._kind(line[front.end() :] if front else line)
        if kind is None or kind in self.known or "keyboard_interrupt" in self.known:
            return None
        if kind in FOLLOWERS and self.known:
            return None
        fatal = kind != "keyboard_interrupt" and not (kind == "traceback" and self.is_thread)
        if fatal or kind == "keyboard_interrupt":
            self.known.append(kind)
        text = line.strip().decode("utf-8", "replace")[:TEXT]
        if front and front[1]:
            time = float(front[1])
        return Failure(kind, text, fatal, time, number)

    def end(self) -> Failure | None:
        """The traceback that the end of the file cut off."""
        if not self.patience or self.harmless or self.known:
            return None
        self.patience = 0
        return Failure("traceback", _TRACEBACK.decode() + ":")

    def _kind(self, line: bytes) -> str | None:
        for hint in _TEXTS:
            if hint in line and (kind := _marked(line)):
                self.patience = 0
                return kind
        if _TRACEBACK in line:
            self.patience = _PATIENCE
            return None
        if line.startswith(_HARMLESS):
            self.harmless = True
        elif line.startswith(b"Exception in thread "):
            self.is_thread = True
        return self._exception(line) if self.patience else None

    def _exception(self, line: bytes) -> str | None:
        self.patience -= 1
        if line[:1] in b" \t" or not _EXCEPTION.match(line):
            return None
        self.patience = 0
        if self.harmless:
            self.harmless = False
            return None
        return next((kind for pattern, kind in _EXCEPTIONS if pattern.match(line)), "traceback")
