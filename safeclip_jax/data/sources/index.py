"""The index of a source: its columns as files in a folder, built once and mapped by all hosts."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from safeclip_jax.data.mapped import open_array
from safeclip_jax.data.sources.base import Columns, RejectedRecords
from safeclip_jax.data.sources.columns import ColumnsBuilder, Extra
from safeclip_jax.data.strings import PackedStrings
from safeclip_jax.errors import UserError, failed, first_line
from safeclip_jax.system import atomic_file, folders, json_text

_SCHEMA = 1
_LOOK = 1.0  # seconds between two looks for an index that another host builds
Exchange = Callable[[str], list[str]]


@dataclass(frozen=True)
class Recipe:
    """How an index is made of what a source reads.

    Attributes:
      kind: of the source.
      identity: what all hosts must see alike: names of files, and options. By its `repr`.
      stamp: what tells, beside these, that files are still the same: where they are, sizes and
        times. Only the first host is asked.
      fill: reads the records; returns the class names if their order is given.
      labelled, extra: as for `ColumnsBuilder`.
    """

    kind: str
    identity: object
    stamp: Callable[[], object]
    fill: Callable[[ColumnsBuilder], Iterable[str] | None]
    labelled: bool = False
    extra: Extra = field(default_factory=dict)

    def columns(self, cache: IndexCache | None) -> Columns:
        """The columns: mapped from the cache, or of files that are gone with them."""
        return self.build(None) if cache is None else cache.columns(self)

    def build(
        self, folder: Path | None, heartbeat: Callable[[str], None] = lambda word: None
    ) -> Columns:
        """Reads the records; args as for `ColumnsBuilder`."""
        builder = ColumnsBuilder(self.labelled, self.extra, folder, heartbeat)
        return builder.build(self.fill(builder))


@dataclass(frozen=True)
class IndexCache:
    """A folder of indices, which all hosts of a run share.

    An index has a name of its own for every state of the files, and appears whole or not at all.
    Who may only read the folder reads the records again where it lacks one.

    Attributes:
      folder: made if it is not there.
      first: whether this host builds those that are not there; the others wait for them.
      exchange: sends a text to all hosts and returns everyone's, the first host's first; None for
        one host.
      heartbeat: hears how a long build goes on.
    """

    folder: Path
    first: bool = True
    exchange: Exchange | None = None
    heartbeat: Callable[[str], None] = lambda word: None

    def columns(self, recipe: Recipe) -> Columns:
        """The columns of an index, which is built if it is not there.

        Raises:
          UserError: if it cannot be read, or hosts do not see the same files.
        """
        folder = self.folder / self._name(recipe)
        if self.first and not folder.exists():
            if self.exchange is None and _is_read_only(self.folder):
                return recipe.build(None, self.heartbeat)
            _build(folder, recipe, self.heartbeat)
        while not folder.exists():
            self.heartbeat("waits for the index")
            time.sleep(_LOOK)
        return read(folder)

    def _name(self, recipe: Recipe) -> str:
        """The folder's, by the first host's stamp."""
        identity = _digest(recipe.identity)
        mine = f"{identity} {_digest(recipe.stamp()) if self.first else ''}"
        everyone = [mine] if self.exchange is None else self.exchange(mine)
        for host, text in enumerate(everyone):
            if text.split(" ")[0] != identity:
                raise UserError(
                    f"host {host} sees other files of a {recipe.kind} source than this one: all "
                    "must read the same data"
                )
        return f"{recipe.kind}-{everyone[0].replace(' ', '-')}"


def _is_read_only(folder: Path) -> bool:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return not os.access(there, os.W_OK)


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def _build(folder: Path, recipe: Recipe, heartbeat: Callable[[str], None]) -> None:
    """Builds an index, unless another process is quicker."""
    try:
        with folders.writing(folder) as partial:
            _write(partial, recipe, heartbeat)
    except OSError as error:
        if not folder.is_dir():
            raise failed(f"index {folder} cannot be written", error) from None


def _write(folder: Path, recipe: Recipe, heartbeat: Callable[[str], None]) -> None:
    columns = recipe.build(folder, heartbeat)
    described = {
        "schema": _SCHEMA,
        "pairs": len(columns.keys),
        "rejected": len(columns.rejected),
        "class_names": list(columns.class_names),
        "labelled": columns.labels is not None,
        "extra": {name: "texts" if row is str else "numbers" for name, row in recipe.extra.items()},
    }
    atomic_file.write_text(folder / "index.json", json.dumps(described, indent=1) + "\n")


def read(folder: Path) -> Columns:
    """Maps the columns of an index.

    Raises:
      UserError: if it cannot be read.
    """
    try:
        described = json_text.read((folder / "index.json").read_text())
        if described["schema"] != _SCHEMA:
            raise ValueError(f"schema {described['schema']}, expected {_SCHEMA}")
        pairs, rejected = int(described["pairs"]), int(described["rejected"])
        return Columns(
            _texts(folder / "captions", pairs),
            _texts(folder / "keys", pairs),
            _numbers(folder / "labels", pairs, np.int32) if described["labelled"] else None,
            [str(name) for name in described["class_names"]],
            RejectedRecords(
                _texts(folder / "rejected.keys", rejected),
                _texts(folder / "rejected.reasons", rejected),
            ),
            {
                name: _texts(folder / f"extra.{name}", pairs)
                if kind == "texts"
                else _numbers(folder / f"extra.{name}", pairs, np.int64)
                for name, kind in described["extra"].items()
            },
        ).checked()
    except Exception as error:
        raise UserError(f"index {folder} cannot be read ({first_line(error)}): delete it") from None


def _texts(path: Path, count: int) -> PackedStrings:
    ends = _numbers(path.with_name(f"{path.name}.ends"), count, np.int64)
    size = int(ends[-1]) if count else 0
    data = _numbers(path.with_name(f"{path.name}.data"), size, np.uint8)
    return PackedStrings.checked(data, ends)


def _numbers(path: Path, count: int, dtype: type) -> np.ndarray:
    found = open_array(path.with_name(f"{path.name}.npy"))
    if found.dtype != dtype or len(found) != count:
        raise ValueError(f"{path.name}.npy does not hold {count} of {np.dtype(dtype)}")
    return found
