"""How the program begins and ends: its streams, errors in one line, exit statuses."""

from __future__ import annotations

import io
import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from safeclip_jax.errors import Outage, UserError, failed, show
from safeclip_jax.system.signals import Interrupted

PROGRAM = "safeclip-jax"


def run(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Runs a command with the program's arguments and ends the program with its exit status.

    What a user can mend is one line on standard error and status 2, or 75 if the same command
    goes on once a disk, a network or a process is well; Ctrl-C is 130, another signal 128 + its
    number. An output that nobody reads any more ends the program as SIGPIPE does, with 141.

    Args:
      main: takes the arguments; it imports what it needs, so that Ctrl-C meanwhile is heard.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it misses a folder for its fonts
    open_streams()
    try:
        status = _status(main)
        sys.stdout.flush()
    except UserError as error:
        show(error)
        status = error.status
    except Interrupted as error:
        show(error)
        status = error.code
    except KeyboardInterrupt:
        show("stopped; the same command goes on from the last checkpoint")
        status = 130
    except OSError as error:
        status = _of_system(error)
    _flush()
    sys.exit(status)


def _status(main: Callable[[Sequence[str]], int]) -> int:
    try:
        return main(sys.argv[1:])
    except SystemExit as end:  # of argparse, after --help
        return int(end.code or 0)


def open_streams() -> None:
    """Makes standard streams that take all that is written to them.

    One that was closed goes nowhere, and no other file gets its number. Signs that a terminal's
    encoding lacks are written as escapes.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the program's end
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _of_system(error: OSError) -> int:
    """The exit status of what no other has caught."""
    if not isinstance(error, BrokenPipeError):
        found = failed(str(error.filename or "the output cannot be written"), error)
        show(found)
        return getattr(found, "status", UserError.status)
    if not _is_read():
        return 128 + signal.SIGPIPE
    show("a process of this program is gone (out of memory?); the same command goes on")
    return Outage.status


def _is_read() -> bool:
    """Whether standard output has a reader, if it is a pipe."""
    look = select.poll()
    look.register(1, 0)
    return not any(found & select.POLLERR for _, found in look.poll(0))


def _flush() -> None:
    """Writes what is left; what cannot be written is dropped, or Python would complain at exit."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
