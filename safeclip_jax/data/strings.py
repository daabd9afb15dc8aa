"""Sequences of millions of strings without as many Python objects: packed, or views of others."""

from __future__ import annotations

import bisect
import itertools
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, overload

import numpy as np

from safeclip_jax.data.mapped import ArrayWriter, shared

Item = TypeVar("Item", covariant=True)
_AT_ONCE, _ERRORS = 4096, "surrogatepass"


class Lazy(Sequence[Item]):
    """A sequence whose items are made when they are asked for."""

    @abstractmethod
    def item(self, index: int) -> Item:
        """The item at an index from 0."""

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self.item(i) for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.item(index % len(self))

    def __iter__(self) -> Iterator[Item]:
        return map(self.item, range(len(self)))


class PackedStrings(Lazy[str]):
    """An immutable sequence of strings: their UTF-8 bytes end to end, and where each ends.

    File names that are no UTF-8 hold surrogates, which pass.

    Attributes:
      data: uint8 [bytes in all].
      ends: int64 [n].
    """

    def __init__(self, data: np.ndarray, ends: np.ndarray):
        self.data, self.ends = data, ends

    @classmethod
    def checked(cls, data: np.ndarray, ends: np.ndarray) -> PackedStrings:
        """Strings that were read; `ValueError` if they do not end within their bytes, in turn."""
        if data.dtype != np.uint8 or data.ndim != 1 or ends.dtype != np.int64 or ends.ndim != 1:
            raise ValueError("texts are not of bytes and ends")
        if len(ends) and (ends[0] < 0 or ends[-1] != len(data) or np.any(ends[1:] < ends[:-1])):
            raise ValueError("texts do not end within their bytes")
        return cls(data, ends)

    @classmethod
    def pack(cls, strings: Iterable[str]) -> PackedStrings:
        writer, left = StringsWriter(), iter(strings)
        while part := list(itertools.islice(left, _AT_ONCE)):
            writer.extend(part)
        return writer.close()

    def __len__(self) -> int:
        return len(self.ends)

    def item(self, index: int) -> str:
        start = self.ends[index - 1] if index else 0
        return self.data[start : self.ends[index]].tobytes().decode(errors=_ERRORS)

    def __iter__(self) -> Iterator[str]:
        first = 0
        for start in range(0, len(self), _AT_ONCE):
            ends = self.ends[start : start + _AT_ONCE].tolist()
            content = self.data[first : ends[-1]].tobytes()
            for begin, end in itertools.pairwise([first, *ends]):
                yield content[begin - first : end - first].decode(errors=_ERRORS)
            first = ends[-1]


class StringsWriter:
    """Appends to packed strings in two files, `NAME.data.npy` and `NAME.ends.npy`.

    Args:
      path: FOLDER/NAME; None for files without a name.
    """

    def __init__(self, path: Path | None = None):
        data, ends = (
            path and path.with_name(f"{path.name}.{part}.npy") for part in ("data", "ends")
        )
        self._data, self._ends = ArrayWriter(np.uint8, (), data), ArrayWriter(np.int64, (), ends)

    def __len__(self) -> int:
        return len(self._ends)

    def extend(self, strings: Sequence[str]) -> None:
        if isinstance(strings, PackedStrings):
            data, ends = strings.data, strings.ends
        else:
            parts = [text.encode(errors=_ERRORS) for text in strings]
            data = np.frombuffer(b"".join(parts), np.uint8)
            ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        self._ends.extend(len(self._data) + ends)
        self._data.extend(data)

    def close(self) -> PackedStrings:
        return PackedStrings(self._data.close(), self._ends.close())


class Chosen(Lazy[Item]):
    """Some items of a sequence, by their indices."""

    def __init__(self, items: Sequence[Item], indices: np.ndarray):
        self._items, self._indices = items, shared(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def item(self, index: int) -> Item:
        return self._items[int(self._indices[index])]


class Joined(Lazy[Item]):
    """The items of several sequences, one after the other."""

    def __init__(self, parts: Sequence[Sequence[Item]]):
        self._parts, self._ends = parts, list(itertools.accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def item(self, index: int) -> Item:
        number = bisect.bisect_right(self._ends, index)
        return self._parts[number][index - (self._ends[number - 1] if number else 0)]

    def __iter__(self) -> Iterator[Item]:
        return itertools.chain.from_iterable(self._parts)


class Changed(Lazy[Item]):
    """A sequence in which some items are others."""

    def __init__(self, items: Sequence[Item], changes: Mapping[int, Item]):
        self._items, self._changes = items, changes

    def __len__(self) -> int:
        return len(self._items)

    def item(self, index: int) -> Item:
        return self._changes[index] if index in self._changes else self._items[index]
