"""The columns of a prepared shard in one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from safeclip_jax.data.sources.base import Columns, RejectedRecords
from safeclip_jax.data.strings import PackedStrings
from safeclip_jax.errors import UserError, first_line
from safeclip_jax.system import arrays_file, atomic_file

_SCHEMA = 1


def save_columns(path: Path, columns: Columns) -> None:
    """Writes columns, without those of one source only; the file appears whole or not at all."""
    arrays: dict[str, np.ndarray] = {"schema": np.array(_SCHEMA)}
    strings = {
        "captions": columns.captions,
        "keys": columns.keys,
        "class_names": columns.class_names,
        "rejected_keys": [r.key for r in columns.rejected],
        "rejected_reasons": [r.reason for r in columns.rejected],
    }
    for name, values in strings.items():
        packed = values if isinstance(values, PackedStrings) else PackedStrings.pack(values)
        arrays |= {f"{name}.data": packed.data, f"{name}.ends": packed.ends}
    if columns.labels is not None:
        arrays["labels"] = columns.labels
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file.writing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_columns(path: Path) -> Columns:
    """Reads what `save_columns` wrote.

    Raises:
      UserError: if the file cannot be read.
    """
    try:
        arrays = arrays_file.read(path)
        if int(arrays["schema"]) != _SCHEMA:
            raise ValueError(f"schema {int(arrays['schema'])}, expected {_SCHEMA}")

        def strings(name: str) -> PackedStrings:
            return PackedStrings.checked(arrays[f"{name}.data"], arrays[f"{name}.ends"])

        return Columns(
            strings("captions"),
            strings("keys"),
            arrays.get("labels"),
            list(strings("class_names")),
            RejectedRecords(strings("rejected_keys"), strings("rejected_reasons")),
        ).checked()
    except Exception as error:
        raise UserError(f"index {path} cannot be read ({first_line(error)}): delete it") from None
