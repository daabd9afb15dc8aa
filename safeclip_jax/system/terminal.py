"""Metrics to JSON lines and TensorBoard, and progress to the terminal."""

from __future__ import annotations

import collections
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from safeclip_jax.system import atomic_file

PLAIN_SECONDS = 10.0


class Clock:
    """Seconds by activity, and `total`; they add up over resumes."""

    def __init__(self, seconds: dict[str, float]):
        self.seconds = collections.defaultdict(float, seconds)
        self._start = time.monotonic() - self.seconds["total"]

    def totals(self) -> dict[str, float]:
        self.seconds["total"] = time.monotonic() - self._start
        return dict(self.seconds)

    @contextlib.contextmanager
    def __call__(self, activity: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[activity] += time.monotonic() - start


class MetricsLog:
    """Appends metrics to `metrics.jsonl` and to TensorBoard events in `folder`.

    On a resumed run the lines after `step` are dropped, so that the file holds every
    step once, however often the run was interrupted.
    """

    def __init__(self, folder: Path, step: int):
        self.path = folder / "metrics.jsonl"
        (folder / "tensorboard").mkdir(exist_ok=True)
        # Not SummaryWriter: its thread ends with the disk's space, and then its callers wait.
        self._tensorboard = EventsWriter(str(folder / "tensorboard" / "events"))
        again = SessionLog(status=SessionLog.START)  # what was logged after `step` is void
        self._tensorboard.write_event(Event(step=step + 1, session_log=again))
        kept = [line for line in read(self.path) if line["step"] <= step]
        atomic_file.write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = self.path.open("a")

    def write(self, step: int, **values: object) -> None:
        """Writes one line; the numbers in it go to TensorBoard as well."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        now = time.time()
        for name, value in values.items():
            if isinstance(value, int | float):
                event = Event(step=step, wall_time=now, summary=scalar(name, value))
                self._tensorboard.write_event(event)
        self._tensorboard.flush()

    def close(self) -> None:
        self._file.close()
        self._tensorboard.close()


def read(path: Path) -> list[dict]:
    """The lines of a metrics file, up to one that is torn or none of ours."""
    lines = []
    if path.exists():
        for text in path.read_bytes().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                break
            if not isinstance(line, dict) or not isinstance(line.get("step"), int):
                break
            lines.append(line)
    return lines


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
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("pairs"),
                TimeRemainingColumn(),
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
            self._bar.console.print(text, highlight=False)
        elif self._shown:
            print(text, flush=True)

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


def console() -> Console:
    """The terminal, wide enough for tables where there is none."""
    return Console(width=None if sys.stdout.isatty() else 100, highlight=False)
