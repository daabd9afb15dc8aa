"""Folders that one process writes to, and folders that are there whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from safeclip_jax.errors import UserError


@contextlib.contextmanager
def held(folder: Path, without_locks: bool = True) -> Iterator[bool]:
    """Locks a folder, and yields whether it is this process's now.

    The lock ends with the process, however that ends.

    Args:
      folder: to lock.
      without_locks: what to yield on a file system that knows none.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        except BlockingIOError:
            mine = False
        except OSError:
            mine = without_locks
        yield mine
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def alone(folder: Path, does: str, flag: str) -> Iterator[None]:
    """Keeps other processes out of a folder that exists.

    Args:
      folder: to lock.
      does: what this command does to it, in words.
      flag: that chooses another folder.

    Raises:
      UserError: if another process has it.
    """
    with held(folder) as mine:
        if not mine:
            raise UserError(
                f"another process {does} {folder}: let it end, or choose another {flag}"
            )
        yield


@contextlib.contextmanager
def writing(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its place once all is written to it.

    If writing fails, nothing is left of it. Of several who write at once the first wins; the
    others get an `OSError`, as where there is a `target` that is not empty.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _forget_partial(target)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        partial.mkdir()
        with held(partial):
            yield partial
            partial.rename(target)
    except BaseException as error:
        if (
            isinstance(error, OSError)
            and error.errno is not None
            and str(error.filename or partial).startswith(str(partial))
        ):
            error.filename, error.filename2 = str(target), None
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _forget_partial(target: Path) -> None:
    """Deletes what writers of `target` that were killed have left: nobody holds it."""
    for partial in target.parent.glob(f".{glob.escape(target.name)}.????????.partial"):
        with contextlib.suppress(OSError), held(partial, without_locks=False) as mine:
            if mine:
                shutil.rmtree(partial, ignore_errors=True)
