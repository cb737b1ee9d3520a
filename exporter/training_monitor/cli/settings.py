"""What a command goes by: the configuration file, and the flags that override it."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace

from training_monitor.config import Config, load
from training_monitor.errors import ConfigError, UsageError
from training_monitor.parse.registry import open_decoder


def settings(args: argparse.Namespace) -> Config:
    """The configuration in effect. Raises ConfigError, InputError or UsageError."""
    config = load(args.config_file)
    if args.config_file is not None:
        check_formats(config, os.path.basename(args.config_file))
    if args.parser is None:
        return config
    config = replace(config, format=args.parser)
    try:
        check_formats(config, "--log.parser")
    except ConfigError as e:
        raise UsageError(str(e)) from e
    return config


def check_formats(config: Config, where: str) -> None:
    """Raises ConfigError if a format or a pattern in the configuration cannot be used."""
    try:
        open_decoder(b"", format=config.format, regex=config.regex)
    except ValueError as e:
        raise ConfigError([f"{where}: {e}"]) from e
