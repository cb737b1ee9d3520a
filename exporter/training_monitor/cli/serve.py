"""`training-monitor serve`: threads read, the web server's threads answer.

SIGTERM ends both within a second; SIGHUP has the configuration read again.
"""

from __future__ import annotations

import argparse
import logging
import signal
from dataclasses import replace
from types import FrameType

from training_monitor import __version__
from training_monitor.app.monitor import Monitor
from training_monitor.cli.logs import set_up
from training_monitor.cli.settings import settings
from training_monitor.config import Config
from training_monitor.expose.http import WebServer

log = logging.getLogger(__name__)
ADDRESS = "127.0.0.1:10042"


def serve(args: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload: it would end the process
    set_up(args.log_level, args.log_format)

    def configured() -> Config:
        config = settings(args)
        return replace(config, wandb_runs=(*config.wandb_runs, *args.wandb))

    config = configured()
    monitor = Monitor(args.paths, config, state_dir=args.state_dir or config.state_dir, load=configured)
    server = WebServer(args.addresses or [ADDRESS], monitor.view, web_config=args.web_config)

    def stop(number: int, frame: FrameType | None) -> None:
        monitor.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, lambda number, frame: monitor.reload())
    server.start()
    try:
        log.info("listening", extra={"fields": {"address": " ".join(server.urls), "version": __version__}})
        monitor.run()
    finally:
        server.stop()
    log.info("stopped")
    return 0
