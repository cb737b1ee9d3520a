"""Every error a user can meet, and the exit code it ends in.

    MonitorError              exit code 2 unless a subclass says otherwise
    ├── UsageError            2  wrong command line
    ├── ConfigError           2  wrong configuration: all problems at once
    └── InputError            3  a source that cannot be read

A message says where, what was found, what was allowed and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence


class MonitorError(Exception):
    """Base of all errors shown to a user as one message, never as a traceback."""

    exit_code = 2


class UsageError(MonitorError):
    """The command line asks for something that does not exist or does not fit together."""


class ConfigError(MonitorError):
    """The configuration cannot be used; `problems` lists every reason, one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class InputError(MonitorError):
    """A log or another source cannot be read."""

    exit_code = 3


#: What PyYAML raises beside its own errors: for `2001-99-99`, `!!bool x`, `!!map [1]`, `[[[[…`.
NOT_OF_ITS_TAG = (ValueError, TypeError, AttributeError, KeyError, RecursionError)
