"""The interface of a data source: random access to image–caption pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np


class BadRecord(Exception):
    """A record that cannot be used; the message is the reason in a few words."""


@dataclass(frozen=True)
class Pair:
    """One image–caption pair.

    Attributes:
      image: uint8 array of shape [size, size, 3], RGB, at the source's resolution.
      caption: the caption as text.
      key: the record's name, unique within its source.
      label: class index for evaluation, where the source knows one.
    """

    image: np.ndarray
    caption: str
    key: str
    label: int | None = None


class Source(Protocol):
    """Random access to pairs. Reading index `i` twice gives the same pair.

    `captions` and `keys` are readable without decoding an image: attacks choose
    their victims from them and the tokenizer is trained on them.
    """

    captions: list[str]
    keys: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pair:
        """Returns the pair; raises `BadRecord` if it cannot be used."""
        ...


class LabelledSource(Source, Protocol):
    """A source for evaluation: every pair has a label that indexes `class_names`.

    `prompts` are templates with one `{}` for the class name.
    """

    class_names: ClassVar[list[str]]
    prompts: ClassVar[list[str]]

    @property
    def labels(self) -> np.ndarray:
        """Class indices, int32 of shape [len(self)]."""
        ...
