"""The columns of a source, collected record by record, in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from safeclip_jax.data.mapped import ArrayWriter
from safeclip_jax.data.prompts import readable
from safeclip_jax.data.sources.base import Columns, RejectedRecords, caption_problem
from safeclip_jax.data.strings import StringsWriter

AT_ONCE = 8192
_REASON = 300  # characters of a reason that are kept
Extra = Mapping[str, tuple[int, ...] | type[str]]


class _Writer(Protocol):
    def __len__(self) -> int: ...

    def extend(self, values: Any) -> None: ...

    def close(self) -> Any: ...


class _Column:
    """Passes values on to a writer, some thousand at a time."""

    def __init__(self, writer: _Writer):
        self._writer = writer
        self._waiting: list[object] = []

    def __len__(self) -> int:
        return len(self._writer) + len(self._waiting)

    def add(self, value: object) -> None:
        self._waiting.append(value)
        if len(self._waiting) == AT_ONCE:
            self._pass_on()

    def extend(self, values: Sequence | np.ndarray) -> None:
        self._pass_on()
        self._writer.extend(values)

    def close(self) -> Any:
        self._pass_on()
        return self._writer.close()

    def _pass_on(self) -> None:
        if self._waiting:
            self._writer.extend(self._waiting)
            self._waiting = []


class ColumnsBuilder:
    """Collects the columns of a source and sorts out unusable captions.

    Args:
      labelled: whether every record needs a class name.
      extra: further columns by name: `str` for texts, else the shape of a record's integers.
      folder: takes the columns as files; None for files that are gone with the columns.
      heartbeat: hears from time to time how many records there are.
    """

    def __init__(
        self,
        labelled: bool = False,
        extra: Extra | None = None,
        folder: Path | None = None,
        heartbeat: Callable[[str], None] = lambda word: None,
    ):
        self._labelled, self._folder, self._heartbeat = labelled, folder, heartbeat
        self._keys, self._captions = self._texts("keys"), self._texts("captions")
        self._labels, self._numbers = _Column(ArrayWriter(np.int32)), dict[str, int]()
        self._reasons = self._texts("rejected.reasons")
        self._rejected = self._texts("rejected.keys")
        self._extra = {
            name: _Column(ArrayWriter(np.int64, row, self._file(f"extra.{name}.npy")))
            if isinstance(row, tuple)
            else self._texts(f"extra.{name}")
            for name, row in (extra or {}).items()
        }

    def __len__(self) -> int:
        """Records that got an index."""
        return len(self._keys)

    def add(
        self, key: str, caption: object, label: object = None, where: str = "", **extra: object
    ) -> bool:
        """Takes a record and returns whether it got an index.

        Args:
          key: its name.
          caption: what should be its text.
          label: its class name.
          where: it stands, for the list of the rejected; empty for the key.
          extra: its values in the further columns.
        """
        problem = caption_problem(caption)
        name = _class_name(label)
        if self._labelled:
            problem = problem or _label_problem(name)
        if problem:
            self.reject(where or key, problem)
            return False
        self._keys.add(key)
        self._captions.add(str(caption))
        if self._labelled:
            self._labels.add(self._numbers.setdefault(str(name), len(self._numbers)))
        for name, value in extra.items():
            self._extra[name].add(value)
        if len(self) % AT_ONCE == 0:
            self._heartbeat(f"index, {len(self)} records")
        return True

    def extend(self, columns: Columns) -> None:
        """Takes records that another builder has taken, in the same order."""
        self._keys.extend(columns.keys)
        self._captions.extend(columns.captions)
        if columns.labels is None:
            self._labelled = False
        else:
            names = [
                self._numbers.setdefault(readable(name), len(self._numbers))
                for name in columns.class_names
            ]
            self._labels.extend(np.array(names, np.int32)[columns.labels])
        for record in columns.rejected:
            self.reject(record.key, record.reason)
        self._heartbeat(f"index, {len(self)} records")

    def reject(self, key: str, reason: str) -> None:
        self._rejected.add(key)
        self._reasons.add(reason if len(reason) <= _REASON else f"{reason[:_REASON]}…")

    def build(self, class_names: Iterable[str] | None = None) -> Columns:
        """The columns; classes are sorted by name unless they are given."""
        captions, keys = self._captions.close(), self._keys.close()
        labels, names = self._labels.close(), list[str]()
        if self._labelled and len(labels):
            given = None if class_names is None else list(map(readable, class_names))
            names = sorted(self._numbers) if given is None else given
            labels = self._numbered(labels, names)
        return Columns(
            captions,
            keys,
            labels if names else None,
            names,
            RejectedRecords(self._rejected.close(), self._reasons.close()),
            {name: column.close() for name, column in self._extra.items()},
        )

    def _numbered(self, labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Labels by first occurrence to labels by place among the names."""
        place = {name: i for i, name in enumerate(names)}
        places = np.array([place[name] for name in self._numbers], np.int32)
        writer = ArrayWriter(np.int32, (), self._file("labels.npy"))
        for start in range(0, len(labels), AT_ONCE):
            writer.extend(places[labels[start : start + AT_ONCE]])
        return writer.close()

    def _texts(self, name: str) -> _Column:
        return _Column(StringsWriter(self._file(name)))

    def _file(self, name: str) -> Path | None:
        return None if self._folder is None else self._folder / name


def _class_name(label: object) -> str | None:
    """A class as words. A whole number is one also where gaps in its column made it a float."""
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return None if label is None else readable(str(label)).strip()


def _label_problem(name: str | None) -> str:
    """Why a class name cannot be used; empty if it can."""
    problem = caption_problem(name)
    return problem.replace("caption", "label").replace("label is empty", "label is missing")
