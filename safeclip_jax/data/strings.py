"""Millions of strings in two arrays instead of as many Python objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import overload

import numpy as np


class PackedStrings(Sequence[str]):
    """An immutable sequence of strings: their UTF-8 bytes end to end, and where each ends.

    Attributes:
      data: uint8 [bytes in all].
      ends: int64 [n].
    """

    def __init__(self, data: np.ndarray, ends: np.ndarray):
        self.data, self.ends = data, ends

    @classmethod
    def pack(cls, strings: Iterable[str]) -> PackedStrings:
        buffer, ends = bytearray(), []
        for text in strings:
            buffer += text.encode()
            ends.append(len(buffer))
        return cls(np.frombuffer(bytes(buffer), np.uint8), np.array(ends, np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        start = self.ends[index - 1] if index else 0
        return self.data[start : self.ends[index]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))


class ChangedStrings(Sequence[str]):
    """A sequence in which some strings are others."""

    def __init__(self, strings: Sequence[str], changes: Mapping[int, str]):
        self._strings, self._changes = strings, changes

    def __len__(self) -> int:
        return len(self._strings)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._changes.get(index % len(self), self._strings[index])
