"""W&B's `run-<id>.wandb`: the file that the client appends everything to, read while it is written.

Every record in it is a protobuf `Record`; the rows of files of wandb 0.17.9, 0.22.3, 0.29.0, 0.30.0 and 0.31.0 are
those that `wandb leet inspect --json` gives. Taken: history rows with names by `parse.aliases`, run, config, header,
exit, alerts, and from the console what tells why a run ended. Summaries, system metrics, files and
artifacts are passed over. Personal data (arguments, host, e-mail, git remote, most of the configuration) stays here.

Lossy cases: a process that is killed loses its last rows, up to `Facts.flush_s` seconds of them, and writes no exit
record: such a run ends as stalled. A row that `wandb.log(step=N)` makes is written when step N+1 begins.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, ClassVar

from training_monitor.parse import wandb_messages as messages
from training_monitor.parse.aliases import field_of
from training_monitor.parse.base import Counts
from training_monitor.parse.markers import Markers
from training_monitor.parse.protobuf import BYTES, Malformed, fields
from training_monitor.parse.rows import Plan, RowReader, plan_of
from training_monitor.parse.wandb_blocks import Blocks
from training_monitor.records import Facts, Failure, Finish, Record, Start

FLUSH_S = 15.0  # since 0.31, measured; a block of 32 KiB that fills sooner is written at once
OLD_FLUSH_S = 600.0  # before: only full blocks; 42 s at one step per second, minutes for slow runs
KEYBOARD_INTERRUPT = 255  # exit code of a run that a user stopped
ALIVE_AFTER = 64  # rows after an error in the console that mean that the run did not die of it
MAX_LINE = 65_536  # bytes of a console line that has not ended

#: The start of a record: its number, the tag of its content, the content's length. Group 1: a history row; else what is
#: passed over: summary, files, statistics, artifact, telemetry, metric.
_CONTENT = re.compile(rb"\x08[\x80-\xff]{0,9}[\x00-\x7f](?:(\x12)|[\x1a\x32\x3a\x42\x5a\x62])[\x80-\xff]{0,4}.", re.S)
#: One item of a row as nearly all are: below 128 bytes, value_json only, plain ASCII, no object. Group 1 is the length
#: of the name's first part and the name; later parts have a tag and a length before them.
_ITEM = re.compile(rb"\n.[\n\x12](.[ -~]{1,120}(?:\x12.[ -~]{1,120}){0,7})\x82\x01.((?!\{)[ -~]{1,120})", re.S)
_AROUND = 6  # bytes of such an item beside its two groups
#: A record of console output below 128 bytes: number, control, _info with the run's id; then length of the content,
#: stream, time (a message of two numbers), length of the text, text.
_OUTPUT = re.compile(
    rb"\x08[\x80-\xff]{0,9}[\x00-\x7f](?:\x82\x01.{1,12}?)?(?:\xc2\x0c.\n.[ -~]{1,64}?)?j([\x00-\x7f])"
    rb"(\x08\x01)?\x12.(?:\x08[\x80-\xff]{1,9}[\x00-\x7f])?(?:\x10[\x80-\xff]{0,9}[\x00-\x7f])?\x1a([\x00-\x7f])(.*)",
    re.S,
)
_ESCAPE = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")  # colours


class WandbDecoder:
    """Decodes one `.wandb` file."""

    name: ClassVar[str] = "wandb"
    title: ClassVar[str] = "Weights & Biases, local run file"
    example: ClassVar[str] = "wandb/run-20261122_180510-zuq9bkoj/run-zuq9bkoj.wandb"
    versions: ClassVar[str] = "wandb 0.17 to 0.31"
    reads: ClassVar[str] = "history rows, run id and name, a few numbers of the config, exit code, alerts, crash causes"
    smoothed: ClassVar[str] = "as the trainer logs it"
    limits: ClassVar[str] = "rows come up to 15 s late, before 0.31 up to minutes; a killed run loses them"

    def __init__(self) -> None:
        self.counts = Counts()
        self._blocks = Blocks(self.counts)
        self._rows = RowReader()
        self._markers = Markers()
        self._lines = [b"", b""]  # begun console line of stderr and stdout
        self._flush_s = OLD_FLUSH_S
        self._is_begun = False  # the run record was there
        self._start: float | None = None  # unix seconds
        self._rows_since_failure = -1  # -1: no failure that the run may have died of

    @property
    def format(self) -> str | None:
        return self.name if self.counts.lines else None

    def feed(self, data: bytes) -> list[Record]:
        out: list[Record] = []
        parsed, content, output = 0, _CONTENT.match, _OUTPUT.match
        records = self._blocks.feed(data)
        for record in records:
            before = len(out)
            if start := content(record):
                if start.lastindex is None:
                    continue
                if self._plain_row(record, start.end(), out):
                    parsed += len(out) > before
                    continue
            elif (piece := output(record)) and self._plain_output(record, piece, out):
                parsed += len(out) > before
                continue
            try:
                self._record(record, out)
            except (Malformed, ValueError, OverflowError, RecursionError):
                self.counts.error("malformed")
            parsed += len(out) > before
        self.counts.lines += len(records)
        self.counts.parsed += parsed
        return out

    def end(self) -> list[Record]:
        """Nothing: a record that was cut off is no record. The next byte is the first of another file."""
        self._blocks.end()
        self._lines = [b"", b""]
        self._is_begun = False
        return []

    def state(self) -> dict[str, Any]:
        return {
            "blocks": self._blocks.state(),
            "rows": self._rows.state(),
            "markers": self._markers.state(),
            "lines": [line.decode("latin-1") for line in self._lines],
            "plain": [self._flush_s, self._is_begun, self._start, self._rows_since_failure],
            "counts": [self.counts.lines, self.counts.parsed, dict(self.counts.errors)],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError if `state` is of another version."""
        self._blocks.restore(state["blocks"])
        self._rows.restore(state["rows"])
        self._markers.restore(state["markers"])
        self._lines = [line.encode("latin-1") for line in state["lines"]]
        self._flush_s, self._is_begun, self._start, self._rows_since_failure = state["plain"]
        self.counts.lines, self.counts.parsed, errors = state["counts"]
        self.counts.errors.clear()
        self.counts.errors.update(errors)

    def _record(self, data: bytes, out: list[Record]) -> None:
        for number, kind, at, end in fields(data):
            if number in messages.ENVELOPE:
                continue
            if number in _READERS and kind == BYTES:
                _READERS[number](self, data, at, end, out)
            elif number not in messages.KNOWN:
                self.counts.error("unknown_record")
            return

    def _plain_row(self, data: bytes, at: int, out: list[Record]) -> bool:
        """Takes a row of plain items that fill the record; of any other row nothing, and says so."""
        items = sorted(_ITEM.findall(data, at))  # wandb-core writes them in any order
        rest = at + sum([len(name) + len(value) for name, value in items]) + _AROUND * len(items)
        left = len(data) - rest - 2
        if not items or not 0 <= left < 128 or data[rest] != 0x12 or data[rest + 1] != left:  # the step, and no more
            return False
        names, values = zip(*items, strict=True)
        plan = _plan(names)
        if plan is None:
            return False
        try:
            self._rows.take(plan, [*map(float, values)], out)
        except ValueError:  # there are texts
            self._rows.take(plan, values, out)
        self._goes_on()
        return True

    def _history(self, data: bytes, at: int, end: int, out: list[Record]) -> None:
        row = messages.history_row(data, at, end)
        self._rows.row({name: row[name] for name in sorted(row) if field_of(name)}, out)
        self._goes_on()

    def _goes_on(self) -> None:
        """A row came: training goes on, whatever the console said."""
        if self._rows_since_failure >= 0:
            self._rows_since_failure += 1
        self._markers.step()

    def _plain_output(self, data: bytes, match: re.Match[bytes], out: list[Record]) -> bool:
        """Takes what `_OUTPUT` took apart, or says that the lengths do not fit."""
        length, stdout, size, piece = match.groups()
        at = match.end(1)
        if size[0] != len(piece) or length[0] != len(data) - at:
            return False
        self._write(stdout is not None, piece, (data, at, len(data)), out)
        return True

    def _output(self, data: bytes, at: int, end: int, out: list[Record]) -> None:
        self._write(*messages.output(data, at, end), (data, at, end), out)

    def _write(self, stream: bool, piece: bytes, message: tuple[bytes, int, int], out: list[Record]) -> None:
        """Adds to the console; `stream` is true for stdout. Text and line ends come in any pieces."""
        line = self._lines[stream]
        if piece != b"\n":
            line += piece
            if b"\r" in piece:
                line = line.replace(b"\r", b"\n")
            if b"\n" not in line:
                self._lines[stream] = line[:MAX_LINE]
                return
            *lines, self._lines[stream] = line.split(b"\n")
        else:
            lines, self._lines[stream] = [line], b""
        for line in lines:
            failure = self._markers.scan(_ESCAPE.sub(b"", line) if b"\x1b" in line else line, 0)
            if failure:
                self._fail(failure.kind, failure.text, failure.fatal, messages.output_time(*message), out)

    def _fail(self, kind: str, words: str, fatal: bool, time: float | None, out: list[Record]) -> None:
        if fatal or kind == "keyboard_interrupt":
            self._rows_since_failure = 0
        out.append(Failure(kind, words[: messages.MAX_TEXT], fatal, time))

    def _run(self, data: bytes, at: int, end: int, out: list[Record]) -> None:
        """The run begins, or its name was changed."""
        facts, start = messages.run(data, at, end)
        if not self._is_begun:
            self._is_begun, self._start = True, start
            out.append(Start(start))
        out.append(Facts(format=self.name, flush_s=self._flush_s).merged(facts))

    def _config(self, data: bytes, at: int, end: int, out: list[Record]) -> None:
        if facts := messages.config_facts(data, at, end):
            out.append(facts)

    def _header(self, data: bytes, at: int, end: int, out: list[Record]) -> None:
        version = messages.producer(data, at, end)
        self._flush_s = FLUSH_S if version and version >= (0, 31) else OLD_FLUSH_S

    def _alert(self, data: bytes, at: int, end: int, out: list[Record]) -> None:
        """The training code called `run.alert`."""
        out.append(Failure("wandb_alert", messages.alert(data, at, end)[: messages.MAX_TEXT], fatal=False))

    def _exit(self, data: bytes, at: int, end: int, out: list[Record]) -> None:
        code, runtime = messages.exit_code(data, at, end)
        time = self._start + runtime if self._start is not None and runtime > 0 else None
        if code == 0:
            out.append(Finish(time))
        elif not 0 <= self._rows_since_failure <= ALIVE_AFTER:  # else the console has told the cause
            if code == KEYBOARD_INTERRUPT:
                self._fail("keyboard_interrupt", "exit code 255", False, time, out)
            else:
                self._fail("exit_code", f"exit code {code}", True, time, out)


_READERS = {
    messages.HISTORY: WandbDecoder._history,
    messages.OUTPUT_RAW: WandbDecoder._output,
    messages.RUN: WandbDecoder._run,
    messages.CONFIG: WandbDecoder._config,
    messages.FILE_HEADER: WandbDecoder._header,
    messages.EXIT: WandbDecoder._exit,
    messages.ALERT: WandbDecoder._alert,
}


@lru_cache(maxsize=128)
def _plan(names: tuple[bytes, ...]) -> Plan | None:
    """The plan of a row that `_ITEM` took apart, None if a name is not as long as it says (typed values follow it)."""
    written: list[str] = []
    for name in names:
        parts, at = [], 0
        while at < len(name):
            end = at + 1 + name[at]
            parts.append(name[at + 1 : end].decode("ascii", "replace"))
            if end < len(name) and name[end] != 0x12:
                return None
            at = end + 1
        if end != len(name):
            return None
        written.append(".".join(parts))
    return plan_of(tuple(written))
