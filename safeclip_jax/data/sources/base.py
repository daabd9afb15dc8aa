"""The interface of a data source: random access to image–caption pairs."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from safeclip_jax.data.strings import Lazy

MAX_CAPTION = 10_000
IMAGE_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    ".img",  # what `poison` wrote before it told TIFF
)


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


class RejectedRecords(Lazy[Rejected]):
    """Rejected records, of which only the texts are kept."""

    def __init__(self, keys: Sequence[str], reasons: Sequence[str]):
        self._keys, self._reasons = keys, reasons

    def __len__(self) -> int:
        return len(self._keys)

    def item(self, index: int) -> Rejected:
        """Key and reason of one of them."""
        return Rejected(self._keys[index], self._reasons[index])


@dataclass(frozen=True)
class Columns:
    """What a source knows of its pairs without reading an image.

    Attributes:
      captions: of the N pairs.
      keys: of the N pairs.
      labels: class indices, int32 [N], or None.
      class_names: what the labels index.
      rejected: records that have no index.
      extra: what else its source needs of each pair, by name: integers [N, …] or texts.
    """

    captions: Sequence[str]
    keys: Sequence[str]
    labels: np.ndarray | None = None
    class_names: Sequence[str] = ()
    rejected: Sequence[Rejected] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def checked(self) -> Columns:
        """The columns as they are; `ValueError` if they do not fit together."""
        labels, rows = self.labels, len(self.keys)
        if len(self.captions) != rows:
            raise ValueError(f"{len(self.captions)} captions for {rows} keys")
        if labels is None:
            return self
        if labels.shape != (rows,) or labels.dtype.kind != "i":
            raise ValueError(f"labels are {labels.dtype}{list(labels.shape)} of {rows} pairs")
        if rows and not 0 <= labels.min() <= labels.max() < len(self.class_names):
            raise ValueError("a label has no class name")
        return self


class Source(ABC):
    """Random access to pairs. Reading index `i` twice gives the same pair.

    Captions, keys and labels are readable without an image: attacks choose their victims
    from them and the tokenizer is trained on them. A subclass says how to read an image.

    Attributes:
      read: records that were read to make it; where it is a part or a choice, those of the whole.
    """

    def __init__(self, columns: Columns | Source):
        self.captions: Sequence[str] = columns.captions
        self.keys: Sequence[str] = columns.keys
        self.labels: np.ndarray | None = columns.labels
        self.class_names: Sequence[str] = columns.class_names
        self.rejected: Sequence[Rejected] = columns.rejected
        whole = isinstance(columns, Source) and columns.read
        self.read: int = whole or len(columns.keys) + len(columns.rejected)

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

    def picture(self, index: int, size: int) -> tuple[np.ndarray, float]:
        """One whole picture, squeezed to uint8 [size, size, 3], and its width over its height.

        Raises:
          BadRecord: if it cannot be used.
        """
        raise NotImplementedError(f"{type(self).__name__} has square images alone")


def same_numbers(names: Sequence[str]) -> np.ndarray:
    """For each name a number, int64: its place among the different ones, by first occurrence.

    Names are told apart by 128 bits of their digests.
    """
    digests = np.zeros(len(names), "V16")
    for index, name in enumerate(names):
        digests[index] = hashlib.blake2b(
            name.encode(errors="surrogatepass"), digest_size=16
        ).digest()
    _, first, number = np.unique(digests, return_index=True, return_inverse=True)
    places = np.empty(len(first), np.int64)
    places[np.argsort(first)] = np.arange(len(first))
    return places[number]


def caption_problem(caption: object) -> str:
    """Why a caption cannot be used; empty if it can."""
    if caption is None or (isinstance(caption, float) and caption != caption):
        return "caption is missing"
    if not isinstance(caption, str):
        return f"caption is of type {type(caption).__name__}, not text"
    if len(caption) > MAX_CAPTION:
        return f"caption of {len(caption)} characters is longer than {MAX_CAPTION}"
    if not caption.strip() or caption.strip().lower() in ("nan", "null", "none"):
        return "caption is empty"
    if "\0" in caption:
        return "caption holds a NUL byte"
    try:
        caption.encode()
    except UnicodeEncodeError:
        return "caption is not valid Unicode"
    return ""
