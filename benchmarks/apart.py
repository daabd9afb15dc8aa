"""Cases of a benchmark, each in a process of its own: one that fails is a row, not the end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

OUT_OF_MEMORY = "out of memory"
_WANT_OF_MEMORY = re.compile(
    r"RESOURCE_EXHAUSTED|OutOfMemory|out of memory|MemoryError|Unable to allocate|bad_alloc", re.I
)
_ERROR = re.compile(r"Error\b|Exception\b|error:|Check failed")
_LEAST_SECONDS = 15.0  # no process starts, imports and compiles in less

Case = Mapping[str, Any]
Result = dict[str, Any]


class Deadline:
    """Until when a program may run.

    Args:
      seconds: from now on.
    """

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(self._end - time.monotonic(), 0.0)


class Runner:
    """Starts `python -m MODULE --case JSON`, which prints its result as its last line, in JSON.

    Args:
      module: that understands `--case`.
      deadline: of all cases; one that it leaves no time for is not started.
      limit: seconds for one case.
    """

    def __init__(self, module: str, deadline: Deadline, limit: float = 600.0):
        self._module, self._deadline, self._limit = module, deadline, limit
        self._running: set[subprocess.Popen] = set()

    def __call__(self, case: Case) -> Result:
        """The result of a case, or `{"error": why there is none}`."""
        seconds = min(self._limit, self._deadline.left)
        if seconds < _LEAST_SECONDS:
            return {"error": "not started, no time was left"}
        process = subprocess.Popen(
            [sys.executable, "-m", self._module, "--case", json.dumps(case)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self._running.add(process)
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return {"error": f"stopped after {seconds:.0f} s"}
        finally:
            self._end(process)
        if process.returncode:
            return {"error": reason(process.returncode, errors)}
        return json.loads(output.splitlines()[-1])

    def all(self, cases: Sequence[Case], at_once: int = 1) -> Iterator[tuple[Case, Result]]:
        """Runs cases and yields each with its result, as they end.

        What had no memory beside others runs again, alone.
        """
        again = []
        with ThreadPoolExecutor(at_once) as pool:
            try:
                started = {pool.submit(self, case): case for case in cases}
                for done in as_completed(started):
                    case, result = started[done], done.result()
                    if at_once > 1 and result.get("error") == OUT_OF_MEMORY:
                        again.append(case)
                    else:
                        yield case, result
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in [*self._running]:
                    self._end(process)
        for case in again:
            yield case, self(case)

    def _end(self, process: subprocess.Popen) -> None:
        """Ends a process and those that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._running.discard(process)


def reason(status: int, errors: str) -> str:
    """Why a process failed, in one line, from its exit status and what it said."""
    if _WANT_OF_MEMORY.search(errors):
        return OUT_OF_MEMORY
    if status == -signal.SIGKILL:
        return "killed, perhaps for want of memory"
    lines = [line for line in errors.splitlines() if _ERROR.search(line)]
    return (lines[-1].strip() if lines else f"ended with status {status}")[:300]


def stop_on_sigterm() -> None:
    """Makes SIGTERM end this program as Ctrl-C does, and with it what it started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
