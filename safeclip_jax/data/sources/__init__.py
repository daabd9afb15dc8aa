"""Sources by name: `KIND` or `KIND:PATH`, e.g. `scenes`, `csv:pairs.csv`, `tfds:coco_captions`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safeclip_jax.data.files import is_remote
from safeclip_jax.data.sources.array_record import ArrayRecord
from safeclip_jax.data.sources.base import Source
from safeclip_jax.data.sources.captioned_folder import CaptionedFolder, has_captions
from safeclip_jax.data.sources.coco import Coco
from safeclip_jax.data.sources.folder import Folder
from safeclip_jax.data.sources.index import IndexCache
from safeclip_jax.data.sources.mix import part, sample
from safeclip_jax.data.sources.relations import Relations
from safeclip_jax.data.sources.scenes import Scenes
from safeclip_jax.data.sources.table import Table
from safeclip_jax.data.sources.tfds import Tfds
from safeclip_jax.data.sources.webdataset import WebDataset
from safeclip_jax.errors import UserError, unknown


@dataclass(frozen=True)
class SourceOptions:
    """What the kinds of source need beside a path; each takes what concerns it.

    Attributes:
      image_column, caption_column, label_column: names of columns, fields or features.
      columns: names of the columns of a table without a header, with commas.
      images: folder of the images, where the file with the captions lies elsewhere.
      split: of a TFDS data set, or of scenes.
      data_dir: where TFDS data sets were prepared.
      allow_missing: whether shards may be missing or torn; they count as rejected records.
      count: how many scenes to draw, or other pairs to choose; 0 for all of these.
      seed: of scenes, parts and choices.
      size: side of scenes in pixels.
      cache: of indices, or None to keep none.
    """

    image_column: str = ""
    caption_column: str = ""
    label_column: str = ""
    images: str = ""
    columns: str = ""
    split: str = "train"
    data_dir: str = ""
    allow_missing: bool = False
    count: int = 0
    seed: int = 0
    size: int = 32
    cache: IndexCache | None = None


def _table(path: str, o: SourceOptions) -> Source:
    return Table(
        path, o.image_column, o.caption_column, o.label_column, o.cache, o.images, o.columns
    )


def _folder(path: str, o: SourceOptions) -> Source:
    """A folder as its files show it: Hugging Face's, img2dataset's, or class folders."""
    root = Path(path)
    metadata = next((root / n for n in _METADATA if (root / n).is_file()), None)
    if metadata is not None:
        return _table(str(metadata), o)
    if root.is_dir() and has_captions(root, o.caption_column):
        return CaptionedFolder(path, o.caption_column, o.label_column, o.cache)
    return Folder(path, cache=o.cache)


@dataclass(frozen=True)
class Kind:
    """A kind of source.

    Attributes:
      open: makes the source of a path.
      takes: the options that it reads; it does not look at others.
    """

    open: Callable[[str, SourceOptions], Source]
    takes: frozenset[str]


def _kind(make: Callable[[str, SourceOptions], Source], takes: str) -> Kind:
    return Kind(make, frozenset(takes.split()))


_COLUMNS = "image_column caption_column label_column images"
DRAWN = ("scenes", "relations")  # from a seed, as many as are asked for
KINDS: dict[str, Kind] = {
    "scenes": _kind(lambda path, o: Scenes(o.count, o.seed, o.split, o.size), "split"),
    "relations": _kind(lambda path, o: Relations(o.count, o.seed, o.split, o.size), "split"),
    "csv": _kind(_table, f"{_COLUMNS} columns"),
    "tsv": _kind(_table, f"{_COLUMNS} columns"),
    "jsonl": _kind(_table, _COLUMNS),
    "parquet": _kind(_table, _COLUMNS),
    "webdataset": _kind(
        lambda path, o: WebDataset(
            path, o.caption_column, o.label_column, o.cache, not o.allow_missing
        ),
        "caption_column label_column allow_missing",
    ),
    "tfds": _kind(
        lambda name, o: Tfds(name, o.split, o.data_dir, o.caption_column, o.cache),
        "split data_dir caption_column",
    ),
    "folder": _kind(_folder, _COLUMNS),
    "coco": _kind(lambda path, o: Coco(path, o.images, o.cache), "images"),
    "arrayrecord": _kind(lambda path, o: ArrayRecord(path, o.cache), ""),
}
_FILES = ("csv", "tsv", "jsonl", "parquet", "folder", "coco", "arrayrecord")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def open_part(
    spec: str,
    options: SourceOptions,
    share: tuple[float, float] = (0.0, 1.0),
    at_most: bool = False,
) -> Source:
    """Opens a source, takes a part of it, and of that a choice of `options.count` pairs.

    Args:
      spec: as for `open_source`.
      options: of the source; its seed draws part and choice.
      share: the part's two ends, between 0 and 1.
      at_most: whether fewer pairs than `options.count` will do.

    Raises:
      UserError: as `open_source`, or if there are too few pairs.
    """
    source = part(open_source(spec, options), *share, options.seed)
    count = options.count
    drawn = spec in DRAWN  # by their count, so that parts are of it
    if drawn or not count or (at_most and count >= len(source)):
        return source
    return sample(source, count, options.seed)


def open_source(spec: str, options: SourceOptions) -> Source:
    """Opens the source that `KIND` or `KIND:PATH` names.

    Raises:
      UserError: if the kind is not known, or the source cannot be used.
    """
    kind, _, path = spec.partition(":")
    if kind not in KINDS:
        raise unknown("data.source", kind, KINDS)
    if not path and kind not in DRAWN:
        raise UserError(
            f"data.source={kind!r} names no data: write --config.data.source={kind}:PATH, or "
            "try --config.data.source=scenes"
        )
    if kind in _FILES and not is_remote(path) and not _is_there(kind, path):
        raise UserError(
            f"{path} is not there: point --config.data.source={kind}:PATH at your data "
            "(docs/data.md), or try --config.data.source=scenes"
        )
    return KINDS[kind].open(path, options)


def _is_there(kind: str, path: str) -> bool:
    return Path(path).exists() or (kind == "parquet" and any(sign in path for sign in "*?[{"))
