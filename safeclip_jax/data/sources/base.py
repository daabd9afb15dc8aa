"""The interface of a data source: random access to image–caption pairs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from safeclip_jax.data.strings import PackedStrings

MAX_CAPTION = 10_000


@dataclass(frozen=True)
class Record:
    """One image–caption pair as its source holds it.

    Attributes:
      image: the bytes of an image file, or uint8 [H, W, 3].
      caption: the caption as text.
      key: the record's name in its source.
      label: class index where the source knows one, else None.
    """

    image: bytes | np.ndarray
    caption: str
    key: str
    label: int | None = None


@dataclass(frozen=True)
class Rejected:
    """A record without an index, for its text alone shows that it cannot be used."""

    key: str
    reason: str


@dataclass(frozen=True)
class Columns:
    """What a source knows of its pairs without reading an image.

    Attributes:
      captions, keys: of the N pairs.
      labels: class indices, int32 [N], or None.
      class_names: what the labels index.
      rejected: records that have no index.
    """

    captions: Sequence[str]
    keys: Sequence[str]
    labels: np.ndarray | None = None
    class_names: Sequence[str] = ()
    rejected: Sequence[Rejected] = ()


class Source(ABC):
    """Random access to pairs. Reading index `i` twice gives the same pair.

    Captions, keys and labels are readable without an image: attacks choose their victims
    from them and the tokenizer is trained on them. A subclass says how to read an image.
    """

    def __init__(self, columns: Columns | Source):
        self.captions: Sequence[str] = columns.captions
        self.keys: Sequence[str] = columns.keys
        self.labels: np.ndarray | None = columns.labels
        self.class_names: Sequence[str] = columns.class_names
        self.rejected: Sequence[Rejected] = columns.rejected

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Record:
        """Returns the pair; raises `BadRecord` if it cannot be used."""
        label = None if self.labels is None else int(self.labels[index])
        return Record(self.image(index), self.captions[index], self.keys[index], label)

    def image_numbers(self) -> np.ndarray:
        """The same number for pairs that share an image, int [N]; here each has its own."""
        return np.arange(len(self))

    def places(self) -> np.ndarray:
        """For each pair its place among the records of its file, int [N]; here its index."""
        return np.arange(len(self))

    @abstractmethod
    def image(self, index: int) -> bytes | np.ndarray:
        """Returns one image; raises `BadRecord` if it cannot be used."""


class ImageSource(Source):
    """A source whose images are decoded, all of one size: uint8 [S, S, 3], RGB."""

    @abstractmethod
    def image(self, index: int) -> np.ndarray: ...


@dataclass
class ColumnsBuilder:
    """Collects the columns of a source, record by record, and sorts out unusable captions.

    Attributes:
      labelled: whether every record needs a class name.
    """

    labelled: bool = False
    captions: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def add(self, key: str, caption: object, label: object = None, place: str = "") -> bool:
        """Takes a record and returns whether it got an index.

        Args:
          key: its name.
          caption: what should be its text.
          label: its class name.
          place: where it stands, for the list of the rejected; empty for the key.
        """
        problem = caption_problem(caption)
        if self.labelled and (label is None or not str(label).strip()):
            problem = problem or "label is missing"
        if problem:
            self.reject(place or key, problem)
            return False
        self.captions.append(str(caption))
        self.keys.append(key)
        if self.labelled:
            self.labels.append(str(label))
        return True

    def reject(self, key: str, reason: str) -> None:
        self.rejected.append(Rejected(key, reason))

    def build(self, class_names: Iterable[str] | None = None) -> Columns:
        """The columns; classes are sorted by name unless they are given."""
        names: list[str] = []
        labels = None
        if self.labels:
            names = sorted(set(self.labels)) if class_names is None else list(class_names)
            number = {name: i for i, name in enumerate(names)}
            labels = np.array([number[label] for label in self.labels], np.int32)
        captions, keys = PackedStrings.pack(self.captions), PackedStrings.pack(self.keys)
        return Columns(captions, keys, labels, names, self.rejected)


def same_numbers(names: Iterable[str]) -> np.ndarray:
    """For each name a number, int64: its place among the different ones."""
    first: dict[str, int] = {}
    return np.fromiter((first.setdefault(name, len(first)) for name in names), np.int64)


def caption_problem(caption: object) -> str:
    """Why a caption cannot be used; empty if it can."""
    if caption is None or (isinstance(caption, float) and caption != caption):
        return "caption is missing"
    if not isinstance(caption, str):
        return f"caption is of type {type(caption).__name__}, not text"
    if not caption.strip() or caption.strip().lower() in ("nan", "null", "none"):
        return "caption is empty"
    if len(caption) > MAX_CAPTION:
        return f"caption of {len(caption)} characters is longer than {MAX_CAPTION}"
    if "\0" in caption:
        return "caption holds a NUL byte"
    try:
        caption.encode()
    except UnicodeEncodeError:
        return "caption is not valid Unicode"
    return ""
