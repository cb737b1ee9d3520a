"""`training-monitor watch`: the status table, and below it what happened, kept up to date."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence

from training_monitor.app.monitor import TICK_S, Monitor
from training_monitor.config import Config
from training_monitor.records import Event
from training_monitor.report.status import status_table
from training_monitor.report.terminal import Style, clean, style_of
from training_monitor.report.text import event_line
from training_monitor.run import Run

KEPT = 12  # events shown
HOME_AND_CLEAR = "\x1b[H\x1b[J"
ALTERNATE, NORMAL = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


class Screen:
    """Redraws a terminal once a second; where stdout is none, prints events as they come."""

    def __init__(self, paths: Sequence[str], config: Config) -> None:
        self.events: deque[tuple[str, Event]] = deque(maxlen=KEPT)
        self.is_terminal = sys.stdout.isatty()
        self.monitor = Monitor(paths, config, on_event=self._happened)

    def run(self) -> int:
        """Until Ctrl-C; 0."""
        self.monitor.start()
        if self.is_terminal:
            print(ALTERNATE, end="")
        try:
            while True:
                self._draw()
                self.monitor.round(self.monitor.wait(TICK_S))
        except KeyboardInterrupt:
            return 0
        finally:
            if self.is_terminal:
                print(NORMAL, end="", flush=True)
            self.monitor.close()

    def _happened(self, run: Run, event: Event) -> None:
        self.events.append((run.name, event))
        if not self.is_terminal:
            print(self._line(run.name, event, Style()), flush=True)

    def _draw(self) -> None:
        if not self.is_terminal:
            return
        style = style_of(sys.stdout)
        notes = self.monitor.found.notes if self.monitor.found else ()
        lines = [*(style.paint(note, "dim") for note in notes), "", status_table(self.monitor.snapshots(), style), ""]
        lines += [self._line(run, event, style) for run, event in self.events]
        lines += ["", style.paint("Ctrl-C ends", "dim")]
        print(HOME_AND_CLEAR + "\n".join(lines), flush=True)

    @staticmethod
    def _line(run: str, event: Event, style: Style) -> str:
        return f"{clean(run)}  {event_line(event, style)}"
