"""`python -m training_monitor` is the same as `training-monitor`."""

from training_monitor.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
