"""Progress on the terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from safeclip_jax.errors import printable

PLAIN_SECONDS = 10.0


class ProgressLine:
    """A progress bar on a terminal, a plain line now and then elsewhere, silence if not shown."""

    def __init__(self, total: int, done: float, shown: bool):
        self._shown = shown
        self._total = total
        self._began: tuple[float, float] | None = None  # pairs and time after the first step
        self._last = time.monotonic()
        self._bar = None
        if shown and sys.stdout.isatty():
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("pairs"),
                TimeRemainingColumn(),
                console=console(),
            )
            self._bar.start()
            self._task = self._bar.add_task("starting", total=total, completed=int(done))

    def advance_to(self, pairs: float, text: str) -> None:
        """Sets the pairs that are done and shows the text beside them."""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=pairs, description=text)
        elif self._began is None:
            self._began = pairs, now
            self._last = now
        elif self._shown and now - self._last >= PLAIN_SECONDS:
            self._last = now
            rate = (pairs - self._began[0]) / (now - self._began[1])
            left = (self._total - pairs) / max(rate, 1e-9)
            share = pairs / max(self._total, 1)
            print(f"{share:4.0%} {text} | {_clock(left)} left", flush=True)

    def say(self, text: str) -> None:
        """Prints a line that stays."""
        if self._bar is not None:
            self._bar.console.print(text)
        elif self._shown:
            print(printable(text), flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


class Passes:
    """A line of progress for each pass over some data; called with how many of how many."""

    def __init__(self, name: str):
        self.name = name
        self._line: ProgressLine | None = None

    def __call__(self, done: int, total: int) -> None:
        self._line = self._line or ProgressLine(total, 0, True)
        self._line.advance_to(done, self.name)
        if done >= total:
            self._line.close()
            self._line = None


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes}:{seconds:02d}"


class _Plain(Console):
    """Writes texts as they are: nothing in them is markup, and nothing steers the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # the program's end is for `program.run` to say


def console() -> Console:
    """The terminal, wide enough for tables where there is none."""
    width = None if sys.stdout.isatty() else 100
    return _Plain(width=width, highlight=False, markup=False, emoji=False)
