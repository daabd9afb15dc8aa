"""Images that lie in a column of a Parquet file, as img2dataset and Hugging Face write them."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from safeclip_jax.data import files
from safeclip_jax.errors import BadRecord, first_line


def holds_images(schema: Any, column: str) -> bool:
    """Whether a column holds bytes, or a struct with them, not paths."""
    kind = schema.field(column).type
    if str(kind).startswith("struct"):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return str(kind) in ("binary", "large_binary")


class ParquetImages:
    """Random access to a column of images; the group of rows that was read last stays in memory."""

    def __init__(self, path: str, column: str):
        self._path, self._column = path, column
        self._lock, self._group = threading.Lock(), -1
        self._values: Any = None
        self._ends: np.ndarray | None = None

    def __getstate__(self) -> tuple[str, str]:
        return self._path, self._column

    def __setstate__(self, state: tuple[str, str]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def read(self, row: int) -> bytes:
        """The bytes of one image; raises `BadRecord` if there are none."""
        try:
            with self._lock:
                value = self._value(row)
        except (OSError, ValueError, MemoryError) as error:
            raise BadRecord(f"image cannot be read: {first_line(error)}") from None
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise BadRecord("image is missing")
        return content

    def _value(self, row: int) -> Any:
        import pyarrow.parquet as parquet

        if self._ends is None:
            meta = parquet.ParquetFile(files.open_bytes(self._path)).metadata
            rows = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
            self._ends = np.cumsum(rows)
        group = int(np.searchsorted(self._ends, row, side="right"))
        if group != self._group or self._values is None:
            file = parquet.ParquetFile(files.open_bytes(self._path))
            self._values = file.read_row_group(group, columns=[self._column]).column(0)
            self._group = group
        return self._values[row - (int(self._ends[group - 1]) if group else 0)].as_py()
