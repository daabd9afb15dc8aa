"""Which hosts of a run are there: a file for each in a folder that all of them share.

A host that dies or hangs leaves the others waiting in a collective, in which they can say
nothing. So a thread of each process writes a line every few seconds, and reads what the
others wrote: it knows who never came, who fell silent, and who is behind.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from safeclip_jax.errors import Outage
from safeclip_jax.system import atomic_file

Heartbeat = Callable[[str], None]
End = Callable[[str, int], None]  # takes the reason and the exit status

INTERVAL = 5.0  # seconds between two lines of a host
SILENCE = 60.0  # without a new line the host is lost
STALL = 1800.0  # without progress of any host the run hangs
REMINDER = 30.0
LOST = Outage.status


def no_heartbeat(word: str) -> None:
    """The heartbeat of a run of one process: nobody watches."""


class _Lines:
    """The hosts' files: what they say, and for how long they have said it."""

    def __init__(self, folder: Path, number: int, count: int):
        self.folder, self.number, self.count = folder, number, count
        self._written = 0
        self._heard: dict[int, tuple[str, int]] = {}  # the line, and how often it was the same
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, word: str) -> None:
        self._written += 1
        path, line = self._path(self.number), f"{socket.gethostname()}\t{self._written}\t{word}"
        with contextlib.suppress(OSError):  # a full disk is for the run itself to report
            atomic_file.write_text(path, line)

    def silence(self, number: int) -> float:
        """Seconds for which a host's line has not changed; to be called every `INTERVAL`.

        It counts calls and looks at no clock: a process that was paused takes no other for lost.
        """
        line = self._read(number)
        before, same = self._heard.get(number, ("", 0))
        self._heard[number] = line, same + 1 if line == before else 0
        return self._heard[number][1] * INTERVAL

    def changed(self, number: int) -> bool:
        """Whether a host's line has changed since it was first looked at."""
        line = self._read(number)
        before, _ = self._heard.setdefault(number, (line, 0))
        return line != before

    def word(self, number: int) -> str:
        return self._read(number).rpartition("\t")[2]

    def name(self, number: int) -> str:
        host = self._read(number).partition("\t")[0]
        return f"host {number} ({host})" if host else f"host {number}"

    def remove(self) -> None:
        """Removes this host's line; the last one to go removes the folder."""
        self._path(self.number).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _read(self, number: int) -> str:
        try:
            return self._path(number).read_text()
        except OSError:
            return ""

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05d}"


class _Thread:
    """Calls a function every `INTERVAL` until it is closed."""

    def __init__(self, work: Callable[[], None]):
        self._work, self._closed = work, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._work()
            self._closed.wait(INTERVAL)


class JoinWatch:
    """Says, while the processes join, which of them have not come.

    Args:
      folder: of the hosts' files.
      number, count: of this process and of all.
      patience: seconds after which `end` is called.
      end: ends the process.
    """

    def __init__(self, folder: Path, number: int, count: int, patience: float, end: End):
        self._lines = _Lines(folder, number, count)
        self._missing = [n for n in range(count) if n != number]
        self._began = self._reminded = time.monotonic()
        self._patience, self._end = patience, end
        self._thread = _Thread(self._look)

    def close(self) -> None:
        self._thread.close()

    def _look(self) -> None:
        self._lines.write("joins")
        self._missing = [n for n in self._missing if not self._lines.changed(n)]
        now = time.monotonic()
        missing = f"{_numbers(self._missing)} of {self._lines.count}"
        if self._missing and now - self._began > self._patience:
            self._end(f"{missing} did not come within {self._patience:.0f} s", LOST)
        elif self._missing and now - self._reminded > REMINDER:
            self._reminded = now
            print(f"waiting for {missing}", flush=True)


class Watchdog:
    """Ends a process that would wait for good, with the reason.

    Each host watches the next one; what one finds out, all read in one file.

    Args:
      folder: of the hosts' files.
      number, count: of this process and of all.
      end: ends the process.
    """

    def __init__(self, folder: Path, number: int, count: int, end: End):
        self._lines, self._end = _Lines(folder, number, count), end
        self._word, self._moved = "starts", time.monotonic()
        self._verdict = folder / "verdict"
        self._old = self._told()
        self._thread = _Thread(self._look)

    def heartbeat(self, word: str) -> None:
        """Notes progress and what the process does next."""
        self._word, self._moved = word, time.monotonic()

    def tell(self, reason: str, code: int) -> None:
        """Lets all hosts know why the run ends."""
        with contextlib.suppress(OSError):
            atomic_file.write_text(self._verdict, f"{time.time()}\t{code}\t{reason}")

    def wait_for_verdict(self) -> None:
        """Gives the thread the time to find out who is lost; it then ends the process."""
        time.sleep(SILENCE + 3 * INTERVAL)

    def close(self) -> None:
        self._thread.close()
        self._lines.remove()

    def _look(self) -> None:
        lines = self._lines
        lines.write(self._word)
        told = self._told()
        if told != self._old:
            _, code, reason = told.split("\t", 2)
            self._end(reason, int(code))
        following = (lines.number + 1) % lines.count
        silence = lines.silence(following)
        if silence > SILENCE:
            name, doing = lines.name(following), lines.word(following)
            if not doing:
                where = f"is not in {lines.folder}: the hosts must share the run's folder"
                self._stop(f"{name} {where}", 2)
            self._stop(f"{name} is lost: silent for {silence:.0f} s in {doing!r}")
        stall = time.monotonic() - self._moved
        if stall > STALL:
            where = "; ".join(f"{lines.name(n)}: {lines.word(n)}" for n in range(lines.count))
            self._stop(f"no progress for {stall:.0f} s; {where}")

    def _stop(self, reason: str, code: int = LOST) -> None:
        self.tell(reason, code)
        self._end(reason, code)

    def _told(self) -> str:
        try:
            return self._verdict.read_text()
        except OSError:
            return ""


def _numbers(numbers: list[int]) -> str:
    return f"host{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
