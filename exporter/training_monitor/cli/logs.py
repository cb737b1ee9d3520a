"""The exporter's own log, on stderr: logfmt or JSON, one line an event."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any

from training_monitor.report.terminal import clean_json

_PLAIN = re.compile(r"[^\s\"=\\]+")


def set_up(level: str, form: str) -> None:
    """Sends everything that the package logs to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Logfmt())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class _Fields(logging.Formatter):
    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        found: dict[str, Any] = {
            "ts": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            found["error"] = self.formatException(record.exc_info)
        return found


class _Logfmt(_Fields):
    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{k}={_quoted(str(v))}" for k, v in self.fields(record).items() if v is not None)


class _Json(_Fields):
    def format(self, record: logging.LogRecord) -> str:
        return clean_json(json.dumps(self.fields(record), ensure_ascii=False))


def _quoted(value: str) -> str:
    """The value as logfmt writes it: control characters never reach the terminal."""
    is_plain = _PLAIN.fullmatch(value) and value.isprintable()
    return value if is_plain else clean_json(json.dumps(value, ensure_ascii=False))
