"""The exporter's own log: one line an event, whatever stands in it."""

from __future__ import annotations

import json
import logging

import pytest

from training_monitor.cli.logs import _Json, _Logfmt

#: A colour code of one character, a direction mark, an invisible space, a byte of a file name that is not UTF-8, …
HOSTILE = 'a\x9b31m\u202eb\u200b\udcff\x1b[2J\x7f\r\n"\\= \u2028<é中>'


def record(message: str, run: str) -> logging.LogRecord:
    made = logging.LogRecord("x", logging.ERROR, "x.py", 1, message, (), None)
    made.fields = {"run": run, "step": None}
    return made


@pytest.mark.parametrize("form", [_Logfmt(), _Json()])
@pytest.mark.parametrize("text", [HOSTILE, "a\x9b31m", "\u202egnp.sh", "\udcff"])
def test_no_text_can_command_or_deceive_a_terminal(form, text):
    line = form.format(record(text, text))
    assert line.isprintable()
    line.encode()  # a lone surrogate would raise


def test_what_can_be_read_is_left_as_it_is():
    assert 'msg="über 中" run=é/中' in _Logfmt().format(record("über 中", "é/中"))


def test_json_gives_back_what_was_put_in():
    found = json.loads(_Json().format(record(HOSTILE, HOSTILE)))
    assert (found["msg"], found["run"], found["step"]) == (HOSTILE, HOSTILE, None)
