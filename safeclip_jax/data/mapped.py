"""Arrays in files: processes map them, and from one to another goes a path, not the content."""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike

SMALL = 2**20  # bytes; an array of less stays in memory unless its file has a name


class MappedArray(np.ndarray):
    """The array of a `.npy` file, read only. It is pickled as the file's path.

    What is made of it, a part or a copy, is pickled with its content, as any array.

    Attributes:
      path: of the file; empty for what is made of it.
      file: a file without a name, which is gone with the array; None for one with a name.
    """

    path: str = ""
    file: IO[bytes] | None = None

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self.path:
            return open_array, (self.path,)
        return np.asarray(self).__reduce_ex__(protocol)


def open_array(path: str | Path) -> MappedArray:
    """Maps a `.npy` file.

    Raises:
      OSError, ValueError: if it is not there or is none.
    """
    found = np.load(path, mmap_mode="r", allow_pickle=False).view(MappedArray)
    found.path = os.path.abspath(path)
    return found


def allocate(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> None:
    """Makes a `.npy` file of zeros whose room on the disk is taken.

    A mapped file cannot say that the disk is full: the process is killed (SIGBUS) when it writes
    to a page that gets no place. `OSError` here instead.
    """
    with path.open("wb") as file:
        npy.write_array_header_1_0(
            file, npy.header_data_from_array_1_0(np.empty(0, dtype)) | {"shape": shape}
        )
        file.flush()
        end = file.tell() + np.dtype(dtype).itemsize * math.prod(shape)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, end)
        file.truncate(end)


def shared(array: np.ndarray) -> np.ndarray:
    """The array in a file without a name, so that worker processes map it; a small one as it is."""
    if array.nbytes < SMALL or (isinstance(array, MappedArray) and array.path):
        return array
    writer = ArrayWriter(array.dtype, array.shape[1:])
    writer.extend(array)
    return writer.close()


class ArrayWriter:
    """Appends rows to an array in a `.npy` file; none of them stays in memory.

    Args:
      dtype: of the array.
      row: shape of a row.
      path: of the file; None for one without a name, which is gone with the array.
    """

    def __init__(self, dtype: DTypeLike, row: tuple[int, ...] = (), path: Path | None = None):
        self._dtype, self._row, self._path, self._rows = np.dtype(dtype), row, path, 0
        self._file = _nameless() if path is None else path.open("wb+")
        self._write_header()
        self._start = self._file.tell()

    def __len__(self) -> int:
        return self._rows

    def extend(self, rows: Sequence | np.ndarray) -> None:
        added = np.ascontiguousarray(rows, self._dtype).reshape(-1, *self._row)
        self._file.write(added.data)
        self._rows += len(added)

    def close(self) -> np.ndarray:
        """Ends the file and returns its array."""
        self._file.seek(0)
        self._write_header()
        if self._file.tell() != self._start:
            raise ValueError(f"{self._rows} rows need a longer header")
        self._file.flush()
        if self._path is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            return open_array(self._path)
        if self._rows * self._dtype.itemsize * math.prod(self._row) < SMALL:
            with self._file as file:
                file.seek(0)
                return np.load(file, allow_pickle=False)
        found = open_array(_path_of(self._file))
        found.file = self._file
        return found

    def _write_header(self) -> None:
        """Writes a header, with room for as many rows as there may be."""
        npy.write_array_header_1_0(
            self._file,
            {
                "descr": npy.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (self._rows, *self._row),
            },
        )


def _nameless() -> IO[bytes]:
    """A file that leaves nothing behind, however this process ends, where the system can do so."""
    return tempfile.TemporaryFile() if _by_number() else tempfile.NamedTemporaryFile()


def _path_of(file: IO[bytes]) -> str:
    return f"/proc/{os.getpid()}/fd/{file.fileno()}" if _by_number() else file.name


def _by_number() -> bool:
    """Whether processes can open a file without a name by its number in another one."""
    return sys.platform == "linux" and os.path.isdir("/proc/self/fd")
