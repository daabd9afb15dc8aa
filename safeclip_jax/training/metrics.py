"""Metrics of a run, to JSON lines and TensorBoard, and where its time goes."""

from __future__ import annotations

import collections
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from safeclip_jax.system import atomic_file, imports, json_text

with imports.without("torch"):
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.summary import scalar


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
                line = json_text.read(text)
            except ValueError:
                break
            if not isinstance(line, dict) or not isinstance(line.get("step"), int):
                break
            lines.append(line)
    return lines
