"""Progress on the terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import weakref
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from safeclip_jax.errors import printable

PLAIN_SECONDS = 10.0


class ProgressLine:
    """A progress bar on a terminal, else a plain line at least every ten seconds, if shown.

    Args:
      total: pairs in all.
      done: pairs before.
      shown: whether anything is shown.
    """

    def __init__(self, total: int, done: float, shown: bool):
        self._shown, self._total, self._done = shown, total, done
        self._began: tuple[float, float] | None = None  # pairs and time after the first step
        self._text, self._doing = "starts", ""
        self._last = time.monotonic()
        self._bar = None
        self._closed = False
        if shown and sys.stdout.isatty():
            self._bar = _bar()
            self._bar.start()
            self._task = self._bar.add_task(self._text, total=total, completed=int(done))
        elif shown:
            threading.Thread(target=_speak, args=[weakref.ref(self)], daemon=True).start()

    def advance_to(self, pairs: float, text: str) -> None:
        """Sets the pairs that are done and shows the text beside them."""
        now = time.monotonic()
        self._done, self._text, self._doing = pairs, text, ""
        self._began = self._began or (pairs, now)
        if self._bar is not None:
            self._bar.update(self._task, completed=pairs, description=text)
        else:
            self.print_if_due()

    def doing(self, text: str) -> None:
        """Shows what goes on while no pair comes to be done."""
        self._doing = text
        if self._bar is not None:
            self._bar.update(self._task, description=text)

    def say(self, text: str) -> None:
        """Prints a line that stays."""
        if self._bar is not None:
            self._bar.console.print(text)
        elif self._shown:
            self._last = time.monotonic()
            print(printable(text), flush=True)

    def close(self) -> None:
        self._closed = True
        if self._bar is not None:
            self._bar.stop()

    def print_if_due(self) -> None:
        """Prints a plain line if none came for so long."""
        now = time.monotonic()
        if not self._shown or now - self._last < PLAIN_SECONDS or self._closed:
            return
        self._last = now
        line = f"{self._done / max(self._total, 1):4.0%} {self._doing or self._text}"
        if self._began and self._done > self._began[0]:
            rate = (self._done - self._began[0]) / (now - self._began[1])
            line += f" | {_clock((self._total - self._done) / max(rate, 1e-9))} left"
        with contextlib.suppress(OSError):  # whoever prints next says that nobody reads
            print(printable(line), flush=True)


def _speak(line: weakref.ref[ProgressLine]) -> None:
    """Lets a line speak for as long as somebody has it."""
    while (there := line()) is not None:
        there.print_if_due()
        del there
        time.sleep(1.0)


def _bar() -> Progress:
    """Text, bar, count, rate and time left in one line; a narrow terminal shortens the text."""
    whole = Column(no_wrap=True)
    return Progress(
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        ),
        BarColumn(bar_width=10, table_column=whole.copy()),
        _Count(table_column=whole.copy()),
        _Rate(table_column=whole.copy()),
        TimeRemainingColumn(compact=True, table_column=whole.copy()),
        console=console(),
        expand=True,
    )


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{int(task.completed):,}/{int(task.total or 0):,}")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} pairs/s" if task.speed else "")


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
