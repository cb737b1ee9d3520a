"""One run: the records of its sources in, a snapshot out."""

from training_monitor.run.goals import Goals
from training_monitor.run.run import Run
from training_monitor.run.saved import restore, state_of

__all__ = ["Goals", "Run", "restore", "state_of"]
