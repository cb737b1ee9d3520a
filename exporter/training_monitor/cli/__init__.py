"""The commands, their exit codes, and how an error is shown.

Exit codes: 0 done; 1 the run reached `--fail-on`; 2 wrong usage or configuration; 3 input cannot be read.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from training_monitor import __version__
from training_monitor.cli.terminal import quiet_pipe
from training_monitor.errors import MonitorError

DESCRIPTION = """Watches LLM training runs from their logs, without touching the training code.

PATH is a log file, a folder, a glob, a wandb folder, or nothing: then the usual places are searched and one
line says what was found."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    args = parser().parse_args(argv)
    try:
        with quiet_pipe():
            gc.freeze()  # what is imported stays; lines by the million make no cycles, and collecting costs 5 %
            gc.set_threshold(20_000, 20, 20)
            return int(args.command(args))
    except MonitorError as e:
        for line in str(e).splitlines() or [type(e).__name__]:
            print(f"training-monitor: {line}", file=sys.stderr)
        return e.exit_code
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="training-monitor", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"training-monitor {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True, title="commands")
    for name, (summary, options) in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary)
        options(sub)
    return top


def _serve(p: argparse.ArgumentParser) -> None:
    p.add_argument("paths", nargs="*", metavar="PATH", help="log file, folder, glob or wandb folder")
    _config(p)
    p.add_argument(
        "--web.listen-address",
        dest="addresses",
        action="append",
        metavar="ADDRESS",
        help="host:port to listen on, may be repeated (default: 127.0.0.1:10042)",
    )
    p.add_argument("--web.config.file", dest="web_config", metavar="F", help="TLS and users, exporter-toolkit's format")
    p.add_argument("--state.dir", dest="state_dir", metavar="DIR", help="keep offsets and detector state here")
    p.add_argument(
        "--wandb", action="append", default=[], metavar="RUN", help="W&B cloud run: entity/project/run or URL"
    )
    p.add_argument("--log.level", dest="log_level", default="info", choices=["debug", "info", "warning", "error"])
    p.add_argument("--log.format", dest="log_format", default="logfmt", choices=["logfmt", "json"])
    p.set_defaults(command=_lazy("serve"))


def _report(p: argparse.ArgumentParser) -> None:
    _log(p)
    p.add_argument("--baseline", metavar="LOG", help="compare with this run at the same step")
    p.add_argument(
        "--format", default="text", choices=["text", "markdown", "json", "html"], help="(default: %(default)s)"
    )
    p.set_defaults(command=_lazy("report"))


def _replay(p: argparse.ArgumentParser) -> None:
    _log(p)
    p.add_argument("--baseline", metavar="LOG", help="compare with this run at the same step")
    p.add_argument("--output", default="text", choices=["text", "jsonl"], help="(default: %(default)s)")
    p.add_argument("--fail-on", choices=["warning", "critical"], help="exit with 1 if the run reached this severity")
    p.set_defaults(command=_lazy("replay"))


def _history(p: argparse.ArgumentParser) -> None:
    _log(p)
    p.add_argument("--metric", default="loss", metavar="NAME", help="loss, mfu, step_time, … (default: %(default)s)")
    p.add_argument(
        "--last", type=_positive, default=100, metavar="N", help="the last N logged steps (default: %(default)s)"
    )
    p.add_argument("--format", default="text", choices=["text", "csv", "plot"], help="(default: %(default)s)")
    p.set_defaults(command=_lazy("history"))


def _status(p: argparse.ArgumentParser) -> None:
    p.add_argument("paths", nargs="*", metavar="PATH", help="log file, folder, glob or wandb folder")
    _config(p)
    p.set_defaults(command=_lazy("status"))


def _watch(p: argparse.ArgumentParser) -> None:
    p.add_argument("paths", nargs="*", metavar="PATH", help="log file, folder, glob or wandb folder")
    _config(p)
    p.set_defaults(command=_lazy("watch"))


def _check_config(p: argparse.ArgumentParser) -> None:
    p.add_argument("file", metavar="F", help="the configuration file")
    p.set_defaults(command=_lazy("check_config"))


def _formats(p: argparse.ArgumentParser) -> None:
    p.add_argument("--format", default="text", choices=["text", "markdown"], help="(default: %(default)s)")
    p.set_defaults(command=_lazy("formats"))


#: name → (what it does, its options).
COMMANDS = {
    "serve": ("export metrics for Prometheus", _serve),
    "report": ("tell how a run is doing and what to do", _report),
    "replay": ("tell what would have alerted, and when", _replay),
    "history": ("show the last values of a metric", _history),
    "status": ("one line for each run", _status),
    "watch": ("follow the runs live in the terminal", _watch),
    "check-config": ("show the effective configuration, or every error in it", _check_config),
    "formats": ("list the log formats that can be read", _formats),
}


def _config(p: argparse.ArgumentParser) -> None:
    p.add_argument("--config.file", dest="config_file", metavar="F", help="YAML configuration; none is needed")
    p.add_argument(
        "--log.parser", dest="parser", metavar="NAME", help="read logs as this format instead of detecting it"
    )


def _log(p: argparse.ArgumentParser) -> None:
    p.add_argument("log", metavar="LOG", help="log file, or a folder: its newest log")
    _config(p)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _lazy(name: str) -> Callable[[argparse.Namespace], int]:
    """The command of this name, imported when it runs: the exporter need not load what only reports need."""

    def command(args: argparse.Namespace) -> int:
        module = import_module("training_monitor.cli." + ("serve" if name == "serve" else "look"))
        return int(getattr(module, name)(args))

    return command


if __name__ == "__main__":
    sys.exit(main())
