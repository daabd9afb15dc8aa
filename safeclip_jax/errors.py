"""What a user is meant to read: errors that stop a run, and reasons to skip a record."""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import re
import sys
from collections.abc import Iterable, Iterator


class UserError(Exception):
    """Input that cannot be used. The message is one line: what, where, what to do.

    Attributes:
      status: the program's exit status.
    """

    status = 2


class Outage(UserError):
    """A disk, a network or a process failed: the same command goes on once it is well."""

    status = 75  # EX_TEMPFAIL


# Of the operating system: a disk or a network that is full or fails, and that may be well again.
_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT)


class BadRecord(Exception):
    """A record of the data that cannot be used. The message is the reason in a few words."""


def printable(text: str) -> str:
    """The text with what would steer a terminal, or turn its writing round, written out."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def show(message: object) -> None:
    """Prints an error in one line, if there is anybody to read it."""
    line = printable(str(message)).replace("\n", r"\n")
    with contextlib.suppress(OSError):
        print(f"error: {line}", file=sys.stderr, flush=True)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type's name where it has none."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def failed(what: str, error: BaseException, then: str = "") -> Exception:
    """What to raise where a disk has failed: an `Outage` if that may pass, else a `UserError`.

    A standard output that nobody reads any more is no fault of a disk, and stays what it is.

    Args:
      what: cannot be done, in words.
      error: of the system, or of a library that quotes it.
      then: what is to be done.
    """
    if isinstance(error, BrokenPipeError):
        return error
    reason = getattr(error, "strerror", None) or first_line(error)
    passes = any(os.strerror(number) in reason for number in _PASSING)
    return (Outage if passes else UserError)(f"{what}: {reason}{then and f'; {then}'}")


@contextlib.contextmanager
def said_by(flag: str, prefix: str = "--") -> Iterator[None]:
    """Says what is wrong with a model in the words of the command that names it.

    Args:
      flag: that names the model.
      prefix: of the flags that give a bare file's preset and activation.
    """
    try:
        yield
    except UserError as error:
        message = re.sub(r"(?<![\w.-])(preset|activation)=", rf"{prefix}\1=", str(error))
        raise type(error)(f"{flag}: {message}") from None


def nearest(name: str, known: Iterable[str]) -> str:
    """ ": did you mean …?" for a name that is not known, or nothing if none is like it."""
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f": did you mean {near[0]!r}?" if near else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """A `UserError` for a name that is not in a registry, with the nearest known one."""
    known = sorted(known)
    hint = nearest(name, known).removeprefix(": ")
    return UserError(f"unknown {kind} {name!r}: {hint and hint + ' '}known: {', '.join(known)}")
