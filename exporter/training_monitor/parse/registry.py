"""Everything that can be read. A new text format is one file and one line in `FORMATS`; see docs/log-formats.md."""

from __future__ import annotations

from collections.abc import Sequence

from training_monitor.parse.base import Decoder
from training_monitor.parse.build_nanogpt import BuildNanoGpt
from training_monitor.parse.format import Format
from training_monitor.parse.jsonl import Jsonl
from training_monitor.parse.key_value import KeyValue
from training_monitor.parse.nanochat import Nanochat
from training_monitor.parse.nanochat_rl import NanochatRl
from training_monitor.parse.nanochat_sft import NanochatSft
from training_monitor.parse.nanogpt import NanoGpt
from training_monitor.parse.text import TextDecoder

#: Text formats, told by their lines. Earlier ones are asked first; generic ones come last.
FORMATS: dict[str, type[Format]] = {
    "nanochat": Nanochat,
    "nanochat-sft": NanochatSft,
    "nanochat-rl": NanochatRl,
    "nanogpt": NanoGpt,
    "build-nanogpt": BuildNanoGpt,
    "jsonl": Jsonl,
    "key-value": KeyValue,
}


def open_decoder(head: bytes, *, name: str = "", format: str | None = None, regex: Sequence[str] = ()) -> Decoder:
    """A decoder for the source that begins with `head` and is called `name`.

    `format` (a name of `FORMATS` or `FILES`) overrides what the content says; `regex` are the user's own patterns.
    Raises ValueError for an unknown format or a pattern that cannot be used.
    """
    return TextDecoder({key: cls() for key, cls in FORMATS.items()}, format)
