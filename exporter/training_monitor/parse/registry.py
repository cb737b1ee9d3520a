"""Everything that can be read. A new text format is one file and one line in `FORMATS`; see docs/log-formats.md."""

from __future__ import annotations

from collections.abc import Sequence

from training_monitor.parse.base import Decoder
from training_monitor.parse.build_nanogpt import BuildNanoGpt
from training_monitor.parse.composer import Composer
from training_monitor.parse.deepspeed import DeepSpeed
from training_monitor.parse.files import FILES, file_format
from training_monitor.parse.format import Format
from training_monitor.parse.gpt_neox import GptNeox
from training_monitor.parse.hf_trainer import HfTrainer
from training_monitor.parse.jsonl import Jsonl
from training_monitor.parse.key_value import KeyValue
from training_monitor.parse.lingua import Lingua
from training_monitor.parse.litgpt import LitGpt
from training_monitor.parse.llmc import Llmc
from training_monitor.parse.maxtext import MaxText
from training_monitor.parse.megatron import Megatron
from training_monitor.parse.mlx_lm import MlxLm
from training_monitor.parse.modded_nanogpt import ModdedNanoGpt
from training_monitor.parse.nanochat import Nanochat
from training_monitor.parse.nanochat_rl import NanochatRl
from training_monitor.parse.nanochat_sft import NanochatSft
from training_monitor.parse.nanogpt import NanoGpt
from training_monitor.parse.nanotron import Nanotron
from training_monitor.parse.nemo import Nemo
from training_monitor.parse.olmo import Olmo
from training_monitor.parse.text import TextDecoder
from training_monitor.parse.torchtitan import Torchtitan
from training_monitor.parse.user_regex import UserRegex

#: Text formats, told by their lines. Earlier ones are asked first; generic ones come last.
FORMATS: dict[str, type[Format]] = {
    "nanochat": Nanochat,
    "nanochat-sft": NanochatSft,
    "nanochat-rl": NanochatRl,
    "nanogpt": NanoGpt,
    "build-nanogpt": BuildNanoGpt,
    "hf-trainer": HfTrainer,
    "megatron": Megatron,
    "gpt-neox": GptNeox,
    "torchtitan": Torchtitan,
    "llmc": Llmc,
    "modded-nanogpt": ModdedNanoGpt,
    "olmo": Olmo,
    "composer": Composer,
    "nanotron": Nanotron,
    "litgpt": LitGpt,
    "nemo": Nemo,
    "maxtext": MaxText,
    "lingua": Lingua,
    "mlx-lm": MlxLm,
    "deepspeed": DeepSpeed,
    "jsonl": Jsonl,
    "key-value": KeyValue,
}


def open_decoder(head: bytes, *, name: str = "", format: str | None = None, regex: Sequence[str] = ()) -> Decoder:
    """A decoder for the source that begins with `head` and is called `name`.

    `format` (a name of `FORMATS` or `FILES`) overrides what the content says; `regex` are the user's own patterns,
    which come before everything else. Raises ValueError for an unknown format or a pattern that cannot be used.
    """
    if (file := format or file_format(head, name)) in FILES:
        return FILES[file]()
    formats: dict[str, Format] = {UserRegex.name: UserRegex(regex)} if regex else {}
    formats |= {key: cls() for key, cls in FORMATS.items()}
    if format is not None and format not in formats:
        raise ValueError(f"{format!r} is no format; known are {', '.join([*FORMATS, *FILES])}")
    return TextDecoder(formats, format)
