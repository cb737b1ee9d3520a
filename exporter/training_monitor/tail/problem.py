"""Why a path cannot be read, in words that say what to do."""

from __future__ import annotations

import errno
import stat


class NotAFile(OSError):
    """What lies at a path is no regular file. Reading it could block for ever, or do something."""

    def __init__(self, path: str, mode: int) -> None:
        super().__init__(0, f"is a {kind_of(mode)}", path)


def kind_of(mode: int) -> str:
    """What `st_mode` says a thing is: file, directory, named pipe, socket, device."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    if stat.S_ISFIFO(mode):
        return "named pipe"
    if stat.S_ISSOCK(mode):
        return "socket"
    return "device"


_ADVICE = {
    errno.EACCES: "no permission to read it; let the exporter's user read the file and enter its directories",
    errno.EPERM: "no permission to read it; let the exporter's user read the file and enter its directories",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n, LimitNOFILE=)",
    errno.ENFILE: "the machine has too many open files",
    errno.ELOOP: "symbolic links that lead in a circle; let the link point to the log",
    errno.ENAMETOOLONG: "the name is too long for the file system; check the path",
    errno.ESTALE: "the network file system has lost the file; it is opened again",
}


def explain(path: str, error: OSError | ValueError) -> str:
    """One sentence: what keeps `path` from being read, and what to do."""
    if isinstance(error, NotAFile):
        return f"{shown(path)} {error.strerror}, which is not read; write the log to a regular file"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{shown(path)}: {_ADVICE.get(error.errno, error.strerror)}"
    return f"{shown(path)}: {error}; check the path"


def shown(path: str) -> str:
    """The path as it may stand on a terminal: a name in a watched folder cannot send it control codes."""
    return path if path.isprintable() else ascii(path)
