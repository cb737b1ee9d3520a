"""karpathy/llm.c: stdout of `train_gpt2.cu`, `.c` and `.py`, and `main.log`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training_monitor.parse.format import Format, Match, fact
from training_monitor.parse.values import number, percent
from training_monitor.records import Facts, Finish, Pause, Record, Step, Validation

_STEP = re.compile(
    rb"step +(\d{1,9})(?:/(\d{1,9}))?(?: \| (?:train )?loss +|: train loss )([-+.\w]{1,30})"
    rb"(?= \(|\||$| \|)(?: ?\([-+.\w]{1,20}z\))?(.{0,300})"
)
_FILE = re.compile(rb"s:(\d{1,9}) trl:(\S+)(?: lr:(\S+))?(?: norm:(\S+))?$")
_NORM = re.compile(rb"norm +([-+.\w]{1,30})")
_LR = re.compile(rb"lr ([-+.\w]{1,30})")
_MS = re.compile(rb"(?:took )?(\d{1,12}(?:\.\d{1,9})?) ms")
_MFU = re.compile(rb"(-?\d{1,5}\.\d{1,4})% [\w ]{1,20}MFU")
_TOKENS = re.compile(rb"(\d{1,15}(?:\.\d{1,9})?) tok/s")
_NAMES = {b"tel": "loss", b"eval": "hellaswag"}


class Llmc(Format):
    """Two values of the stdout line have no name: the unit behind the number tells."""

    __slots__ = ()

    name = "llmc"
    title = "llm.c (stdout, main.log), early modded-nanogpt"
    example = (
        "step  153/19560 | loss 6.982841 (-0.31z)| norm 1.0331 (+0.12z)| lr 1.31e-04 | 140.12 ms | 46.5% bf16 MFU | "
        "3741204 tok/s"
    )
    versions = "2024-04-10 to f1e2ace (2025-05-10)"
    reads = "step, total, loss, norm, lr, ms, MFU, tok/s; val loss, HellaSwag; parameters, device, devices, batch, end"
    units = "MFU: percent, -100.0% means unknown GPU; tok/s: whole job"
    limits = "z-scores (+nanz) are no values; main.log has no times and prints lr with six decimals"
    tokens_scope = "global"
    step_line = _FILE

    def step(self, match: Match, line: int, time: float | None) -> Step:
        step, loss, lr, norm = match.groups()
        return Step(
            int(step),
            float(loss),
            learning_rate=float(lr) if lr else None,
            grad_norm=float(norm) if norm else None,
            time=time,
            line=line,
        )

    def _console(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        step, total, loss, rest = match.groups()
        norm, lr, ms = _NORM.search(rest), _LR.search(rest), _MS.search(rest)
        mfu, tokens = _MFU.search(rest), _TOKENS.search(rest)
        if not ms and not tokens:
            return None
        record = Step(
            int(step),
            float(loss),
            learning_rate=float(lr[1]) if lr else None,
            grad_norm=float(norm[1]) if norm else None,
            mfu_ratio=percent(mfu[1]) if mfu else None,
            step_time_s=float(ms[1]) / 1000 if ms else None,
            tokens_per_second=float(tokens[1]) if tokens else None,
            total_steps=int(total) if total else None,
            time=time,
            line=line,
        )
        return (record,)

    def _file(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        return (Validation(_NAMES[match[2]], float(match[3]), int(match[1]), time, line),)

    def _validation(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        return (Validation("loss", float(match[1]), None, time, line), Pause("evaluation", None, None, time, line))

    def _hellaswag(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        return (Validation("hellaswag", float(match[1]), None, time, line),)

    def _finish(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        return (Finish(time, line),)

    def _table(self, match: Match, line: int, time: float | None) -> Sequence[Record] | None:
        """`| max_steps             | 19560                                              |`."""
        name, value = match[1], match[2].strip()
        facts = {
            b"max_steps": lambda: Facts(total_steps=int(value)),
            b"device": lambda: Facts(gpu=value.decode("utf-8", "replace")),
            b"peak TFlops": lambda: Facts(peak_flops=number(value) * 1e12 if number(value) > 0 else None),
            b"num_parameters": lambda: Facts(parameters=number(value)),
            b"num_processes": lambda: Facts(world_size=int(value)),
            b"total batch size": lambda: Facts(tokens_per_step=number(value)),
            b"sequence length T": lambda: Facts(sequence_length=int(value)),
            b"precision": lambda: Facts(precision=value.decode("ascii", "replace").lower()),
        }[name]()
        return (*self.begins(name.decode(), line, time), facts)

    steps = ((_STEP, _console),)
    table = (
        (re.compile(rb"s:(\d{1,9}) (tel|eval):(\S+)$"), _file),
        (re.compile(rb"val loss (\d{1,9}\.\d{1,9}|-?nan|inf)$"), _validation),
        (re.compile(rb"HellaSwag: \d{1,9}/\d{1,9} = (\S+)$"), _hellaswag),
        (re.compile(rb"total average iteration time: \S+ ms$"), _finish),
        (
            re.compile(
                rb"\| (max_steps|device|peak TFlops|num_parameters|num_processes|total batch size|sequence length T"
                rb"|precision) +\| ([^|]{1,80}?) +\|$"
            ),
            _table,
        ),
        fact(rb"\| resuming from step +\| (\d{1,9}) +\|$", lambda m: Facts(resumed_from=int(m[1]))),
    )
