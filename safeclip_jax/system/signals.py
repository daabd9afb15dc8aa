"""What a signal asks of a run: to checkpoint, or to checkpoint and stop."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT)
CHECKPOINT = 1  # what a host may ask for; larger numbers: to stop with this exit status


class Interrupted(Exception):
    """A signal asked the run to stop; all is saved. `code` is the exit status, 128 + signal."""

    def __init__(self, code: int):
        super().__init__(f"stopped by a signal; the same command goes on from here (exit {code})")
        self.code = code


class Signals:
    """SIGTERM and Ctrl-C stop after the running step, SIGUSR1 checkpoints.

    Attributes:
      received: the number of the last signal that was not answered yet; 0 for none.
    """

    def __init__(self) -> None:
        self.received = 0

    @property
    def request(self) -> int:
        """0, `CHECKPOINT`, or to stop with a status above 128."""
        if self.received in STOPPING:
            return 128 + self.received
        return CHECKPOINT if self.received else 0

    def checkpoint_begins(self) -> None:
        """Answers a request to checkpoint; one to stop, or one from now on, is not answered yet."""
        if self.received not in STOPPING:
            self.received = 0

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Takes signals; a second one to stop acts at once, as if nobody had listened."""
        numbers = (*STOPPING, signal.SIGUSR1)
        old = {number: signal.getsignal(number) for number in numbers}

        def hear(number: int, frame: FrameType | None) -> None:
            self.received = number
            if number in STOPPING:
                signal.signal(number, old[signal.Signals(number)])

        try:
            for number in numbers:
                signal.signal(number, hear)
            yield
        finally:
            for number in numbers:
                signal.signal(number, old[number])
