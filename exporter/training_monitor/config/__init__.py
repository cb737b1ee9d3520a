"""The configuration file."""

from training_monitor.config.load import Config, NameRule, RunConfig, load, parse
from training_monitor.config.schema import RUN_SCHEMA, SCHEMA

__all__ = ["RUN_SCHEMA", "SCHEMA", "Config", "NameRule", "RunConfig", "load", "parse"]
