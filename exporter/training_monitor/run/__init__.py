"""One run: the records of its sources in, a snapshot out."""

from training_monitor.run.run import Run

__all__ = ["Run"]
