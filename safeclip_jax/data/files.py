"""Reads files below a root, local or remote, and nothing beside it."""

from __future__ import annotations

import errno
import glob
import re
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from safeclip_jax.errors import BadRecord, Outage, UserError

MAX_BYTES = 256 * 2**20
WAITS = (0.1, 0.5, 2.0, 8.0)  # seconds before a read that failed is tried again
# What a file is to blame for, not the disk or the network.
_OF_THE_FILE = (
    *(errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EINVAL, errno.EFBIG),
)


def is_remote(path: str) -> bool:
    """Whether a path is a URL such as `gs://bucket/file`."""
    return re.match(r"[a-z][a-z0-9+.-]*://", path) is not None


class Files:
    """The files below a root.

    Args:
      root: a local folder, or a URL that fsspec understands (`gs://`, `s3://`, `memory://`;
        `gs` needs the package gcsfs, `s3` needs s3fs).

    Raises:
      UserError: if nothing on this machine can read such a URL.
    """

    def __init__(self, root: str):
        self.root = root
        self._remote: Any = None
        if is_remote(root):
            self._remote, self._prefix = _remote(root)
        else:
            self._local = Path(root).resolve()

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Returns a file's bytes, or `length` of them from `start`.

        Args:
          name: relative to the root.

        Raises:
          BadRecord: if the name leaves the root, or there is no such file, or it is larger
            than `MAX_BYTES`.
          Outage: if the disk or the network fails again and again: the record may be good, and
            to leave it out would change what is trained.
        """
        problem = escapes(name)
        if problem:
            raise BadRecord(problem)
        if self._remote is not None:
            place = f"{self._prefix}/{name}"
            return _patiently(lambda: self._read_remote(place, start, length), place)
        return _patiently(lambda: self._read_local(name, start, length), str(self._local / name))

    def _read_local(self, name: str, start: int, length: int | None) -> bytes:
        path = (self._local / name).resolve()
        if not path.is_relative_to(self._local):
            raise BadRecord("path leaves the data's folder by a link")
        if not path.is_file():
            raise BadRecord("not a file" if path.exists() else "file is missing")
        size = path.stat().st_size
        _check_size(size if length is None else length)
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size - start if length is None else length)

    def _read_remote(self, path: str, start: int, length: int | None) -> bytes:
        if length is None:
            _check_size(self._remote.size(path) or 0)
            return self._remote.cat_file(path)
        _check_size(length)
        return self._remote.cat_file(path, start=start, end=start + length)


def _patiently(read: Callable[[], bytes], place: str) -> bytes:
    """Reads, and tries again if the disk or the network fails."""
    for wait in (*WAITS, None):
        try:
            return read()
        except BadRecord:
            raise
        except FileNotFoundError:
            raise BadRecord("file is missing") from None
        except Exception as error:
            of_the_file = isinstance(error, OSError) and error.errno in _OF_THE_FILE
            if of_the_file or isinstance(error, ValueError):
                raise BadRecord(f"file cannot be read: {_reason(error)}") from None
            if wait is None:
                raise Outage(
                    f"{place} cannot be read, {len(WAITS) + 1} times ({_reason(error)}): once the "
                    "disk or the network is well, the same command goes on"
                ) from None
            time.sleep(wait)
    raise AssertionError


def escapes(name: str) -> str:
    """Why a relative path may not be read, as far as its text tells; empty if it may."""
    path = PurePosixPath(name)
    if "\0" in name:
        return "path holds a NUL byte"
    if path.is_absolute() or is_remote(name) or re.match(r"[A-Za-z]:[\\/]", name):
        return "path is absolute"
    if ".." in path.parts or ".." in name.replace("\\", "/").split("/"):
        return "path leaves the data's folder"
    if not path.parts:
        return "path is empty"
    return ""


def open_bytes(path: str) -> Any:
    """Opens a file named by the user, local or remote, for reading.

    Raises:
      UserError: if that fails.
    """
    import fsspec

    try:
        return fsspec.open(path, "rb").open()
    except Exception as error:
        raise UserError(f"{path} cannot be opened: {_reason(error)}") from None


def stamp(path: str) -> object:
    """What changes when a file does, local or remote; None if there is none."""
    try:
        if is_remote(path):
            fs, place = _remote(path)
            return fs.ukey(place)
        found = Path(path).stat()
        return found.st_size, found.st_mtime_ns
    except Exception:  # who opens it says why
        return None


def expand(pattern: str, ending: str) -> tuple[str, list[str]]:
    """A folder, glob or `{first..last}` range of files to their root and sorted names.

    Raises:
      UserError: if nothing matches.
    """
    root, found = _expand(pattern, ending)
    if not found:
        raise UserError(
            f"no file matches {pattern!r}: give a folder, a glob as 'shards/*{ending}', or a "
            f"range as 'shards/{{00000..00331}}{ending}'"
        )
    return root, found


def _expand(pattern: str, ending: str) -> tuple[str, list[str]]:
    span = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if span:
        first, last = span.groups()
        numbers = [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
        paths = [pattern[: span.start()] + n + pattern[span.end() :] for n in numbers]
        root = paths[0].rpartition("/")[0] or "."
        return root, [path.rpartition("/")[2] for path in paths]
    if is_remote(pattern):
        fs, path = _remote(pattern)
        if not any(c in path for c in "*?["):
            path = path if path.endswith(ending) else f"{path.rstrip('/')}/*{ending}"
        names = sorted(str(name) for name in fs.glob(path))
        root = pattern.partition("://")[0] + "://" + path.rpartition("/")[0].lstrip("/")
        return root, [name.rpartition("/")[2] for name in names]
    if Path(pattern).is_dir():
        pattern = f"{glob.escape(pattern)}/*{ending}"
    return str(Path(pattern).parent), sorted(Path(p).name for p in glob.glob(pattern))


def _remote(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        fs, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UserError(f"{url} cannot be read on this machine: {_reason(error)}") from None
    return fs, path.rstrip("/")


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise BadRecord(f"file of {size / 2**20:.0f} MiB is larger than {MAX_BYTES // 2**20} MiB")


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0]
