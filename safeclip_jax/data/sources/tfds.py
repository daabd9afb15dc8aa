"""Pairs from a TensorFlow data set stored as ArrayRecord, read without TensorFlow."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from safeclip_jax.data.prompts import TEMPLATES, templated
from safeclip_jax.data.sources.base import Source
from safeclip_jax.data.sources.columns import ColumnsBuilder
from safeclip_jax.data.sources.index import IndexCache, Recipe
from safeclip_jax.errors import BadRecord, UserError, first_line

_DECODED_AT_ONCE = 1024
_OWN_FEATURES = "tensorflow_datasets.core.features."


class Tfds(Source):
    """A prepared data set with an `image` feature and captions or a `label`.

    A record with several captions, as in COCO captions, becomes as many pairs. Where there
    is no caption but a label, the caption is a template with the class's name. Captions and
    labels are read once, and kept in `cache`.

    Args:
      name: as TFDS has it: `coco_captions`, `cifar10`, `name/config:version`.
      split: of the data set.
      data_dir: where it was prepared; empty for TFDS' own default.
      caption_column: feature with the text, dots for nesting; empty for the first usual one.
      cache: of indices, or None to keep none.

    Raises:
      UserError: if TFDS is not installed, or the data set is not prepared, or it has no
        such feature.
    """

    def __init__(
        self,
        name: str,
        split: str = "train",
        data_dir: str = "",
        caption_column: str = "",
        cache: IndexCache | None = None,
    ):
        builder = _builder(name, data_dir)
        if split not in builder.info.splits:
            raise UserError(f"tfds:{name} has no split {split!r}, only {list(builder.info.splits)}")
        features = builder.info.features
        if "image" not in features:
            raise UserError(f"tfds:{name} has no feature 'image', only {list(features)}")
        self._records = _open(builder, name, split)
        names = list(getattr(features["label"], "names", ())) if "label" in features else []
        text = caption_column or _caption_feature(features)
        if not text and not names:
            raise UserError(
                f"tfds:{name} has neither captions nor a label with names: its features are "
                f"{list(features)}; set --config.data.caption_column"
            )
        columns = Recipe(
            "tfds",
            (builder.info.full_name, split, text, builder.info.splits[split].num_examples),
            lambda: str(builder.data_dir),
            partial(_read, self._records, text, names),
            labelled=bool(names),
            extra={"record": ()},
        ).columns(cache)
        if not len(columns.keys) and not columns.rejected:
            raise UserError(f"tfds:{name} split {split} holds no record")
        super().__init__(columns)
        self._record = columns.extra["record"]

    def image_numbers(self) -> np.ndarray:
        return self._record

    def image(self, index: int) -> bytes:
        try:
            return bytes(self._records[int(self._record[index])]["image"])
        except (ValueError, RuntimeError, KeyError, OSError, TypeError) as error:
            raise BadRecord(f"record cannot be read: {first_line(error)}") from None


def _builder(name: str, data_dir: str) -> Any:
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise UserError(f"tfds:{name} needs 'pip install \"safeclip_jax[tfds]\"'") from None
    try:
        with _own_features(tfds):
            builder = _found(tfds, name, data_dir)
    except Exception as error:
        raise UserError(
            f"tfds:{name} is not a data set that TFDS knows, nor prepared in "
            f"{data_dir or 'its default folder'} ({first_line(error)})"
        ) from None
    if not builder.info.splits:
        raise UserError(
            f"tfds:{name} is not prepared: run 'pip install tensorflow-datasets tensorflow && "
            f"tfds build {name} --file_format=array_record"
            f"{f' --data_dir={data_dir}' if data_dir else ''}' on a connected machine"
        )
    return builder


def _found(tfds: Any, name: str, data_dir: str) -> Any:
    """The builder of what lies in the folder, or of what TFDS knows by that name."""
    if not data_dir:
        return tfds.builder(name, file_format="array_record")
    found = [path.parent for path in (Path(data_dir) / name).rglob("dataset_info.json")]
    if found:
        return tfds.builder_from_directory(str(max(found, key=_version)))
    return tfds.builder(name, file_format="array_record", data_dir=data_dir)


def _version(folder: Path) -> tuple[list[int], str]:
    """By which data sets are ordered: 10.0.0 is newer than 9.0.0."""
    return [int(number) for number in re.findall(r"\d+", folder.name)], str(folder)


@contextlib.contextmanager
def _own_features(tfds: Any) -> Iterator[None]:
    """No feature but TFDS's own is made.

    A data set's `features.json` names Python classes, and TFDS would import them: whoever wrote
    the file would run code here.
    """
    connector = tfds.features.FeatureConnector
    named = connector.__dict__["cls_from_name"]

    def own(cls: type, name: str) -> type:
        if not name.startswith(_OWN_FEATURES):
            raise ValueError(f"features.json asks for the Python class {name!r}, which is not run")
        return named.__func__(cls, name)

    connector.cls_from_name = classmethod(own)
    try:
        yield
    finally:
        connector.cls_from_name = named


def _open(builder: Any, name: str, split: str) -> Any:
    """Random access to the records, images as the bytes of their files."""
    import tensorflow_datasets as tfds

    try:
        return builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    except Exception as error:
        raise UserError(
            f"tfds:{name} cannot be read at random ({first_line(error)}): convert it "
            f"with 'tfds convert_format --file_format=array_record'"
        ) from None


def _caption_feature(features: Any) -> str:
    for name in ("captions", "caption", "text"):
        if name in features:
            inner = getattr(features[name], "feature", features[name])
            return f"{name}.text" if hasattr(inner, "keys") and "text" in inner else name
    return ""


def _read(records: Any, text: str, names: list[str], columns: ColumnsBuilder) -> list[str] | None:
    for number, record in enumerate(_all(records)):
        if isinstance(record, str):
            columns.reject(f"record {number}", record)
            continue
        label = names[int(record["label"])] if names else None
        captions = (
            list(_captions(record, text)) if text else [templated(str(label), TEMPLATES, number)]
        )
        if not captions:
            columns.reject(f"record {number}", "caption is missing")
        for i, caption in enumerate(captions):
            key = f"{number:08d}" + (f"-{i}" if len(captions) > 1 else "")
            columns.add(key, caption, label, record=number)
    return names or None


def _all(records: Any) -> Iterator[Any]:
    """All records in order, read many at once; a reason in place of one that cannot be read."""
    for start in range(0, len(records), _DECODED_AT_ONCE):
        numbers = range(start, min(start + _DECODED_AT_ONCE, len(records)))
        try:
            yield from records.__getitems__(list(numbers))
        except Exception:
            yield from (_one(records, number) for number in numbers)


def _one(records: Any, number: int) -> Any:
    try:
        return records[number]
    except Exception as error:
        return f"record cannot be read: {first_line(error)}"


def _captions(record: Any, text: str) -> Iterator[object]:
    value = record
    for name in text.split("."):
        value = value[name]
    for caption in np.ravel(np.asarray(value, object)):
        try:
            yield caption.decode() if isinstance(caption, bytes) else str(caption)
        except UnicodeDecodeError:
            yield None
