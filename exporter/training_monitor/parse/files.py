"""Formats of whole files, known by what a file begins with or is called: binary ones, and text that is no log."""

from __future__ import annotations

import os
import re
from struct import unpack_from
from typing import ClassVar, Protocol

from training_monitor.parse.base import Decoder
from training_monitor.parse.csv_metrics import CsvDecoder, is_header
from training_monitor.parse.tfevents import TfEventsDecoder
from training_monitor.parse.tfrecord import masked_crc32c
from training_monitor.parse.trainer_state import TrainerStateDecoder
from training_monitor.parse.wandb import WandbDecoder
from training_monitor.parse.wandb_blocks import MAGIC


class FileFormat(Decoder, Protocol):
    """A decoder that owns its whole file. The class attributes are its documentation.

    A class with `rewrites = True` has a method `replaced()`: its file is written anew again and again, and the rows
    that come once more are not told twice. Of any other class a new decoder is made for a replaced file.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    example: ClassVar[str]
    versions: ClassVar[str]
    reads: ClassVar[str]
    smoothed: ClassVar[str]
    limits: ClassVar[str]


#: Name → decoder. Raw bytes of one file go in; see `parse.base.Decoder`.
FILES: dict[str, type[FileFormat]] = {
    "wandb": WandbDecoder,
    "tensorboard": TfEventsDecoder,
    "trainer-state": TrainerStateDecoder,
    "lightning-csv": CsvDecoder,
}

_NAMES = (
    (re.compile(r"\.wandb$"), "wandb"),
    (re.compile(r"tfevents\.\d"), "tensorboard"),
    (re.compile(r"^trainer_state\.json$"), "trainer-state"),
    (re.compile(r"\.[ct]sv$"), "lightning-csv"),
)


def file_format(head: bytes, name: str = "") -> str | None:
    """The name in `FILES` of a file that begins with `head`, None for a text log.

    `name`, a path, decides while there is too little content to tell.

    >>> file_format(b"epoch,step,train/loss\\n0,1,"), file_format(b"step 1 | loss 2.0\\n", "metrics.csv")
    ('lightning-csv', None)
    """
    base = os.path.basename(name)
    by_name = next((key for pattern, key in _NAMES if pattern.search(base)), None)
    if head.startswith(MAGIC):
        return "wandb"
    if len(head) >= 12 and _begins_tfrecord(head):
        return "tensorboard"
    if head.lstrip()[:1] == b"{" and b'"log_history"' in head:
        return "trainer-state"
    line, is_whole, _ = head.partition(b"\n")
    if is_whole and by_name in (None, "lightning-csv"):
        return "lightning-csv" if is_header(line) else None
    return by_name


def _begins_tfrecord(head: bytes) -> bool:
    length, crc = unpack_from("<QI", head)
    return length < 1 << 32 and masked_crc32c(head[:8]) == int(crc)
