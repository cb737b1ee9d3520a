"""Watches LLM training runs from their logs, from the outside."""

__version__ = "0.1.0"
