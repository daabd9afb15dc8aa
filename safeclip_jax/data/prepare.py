"""Any source to ArrayRecord shards: images decoded, reduced and encoded again once for all."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from safeclip_jax.data import digests
from safeclip_jax.data.decode import open_image
from safeclip_jax.data.digests import Digests
from safeclip_jax.data.skipped import (
    TooManySkipped,
    check,
    listed_if_too_many,
    write_rejected,
)
from safeclip_jax.data.sources.array_record import SCHEMA, shard_path
from safeclip_jax.data.sources.base import Columns, Rejected, Source
from safeclip_jax.data.sources.columns_file import load_columns, save_columns
from safeclip_jax.data.strings import Chosen
from safeclip_jax.errors import BadRecord, UserError, failed, first_line
from safeclip_jax.system import atomic_file, folders, json_text

MAX_SIDE = 2**14
_AT_ONCE = 512


@dataclass(frozen=True)
class Plan:
    """What decides the shards' content; a folder takes only one.

    Attributes:
      size: the images' smaller side in pixels, 0 to keep their bytes.
      quality: of the JPEGs.
      pairs_a_shard: of the source's, before any is skipped.
      data: what tells the source from another.
    """

    size: int
    quality: int
    pairs_a_shard: int
    data: Digests


def run(
    source: Source,
    folder: Path,
    *,
    size: int = 256,
    quality: int = 95,
    pairs_a_shard: int = 10_000,
    threads: int = 2,
    max_skipped_share: float = 1.0,
    progress: Callable[[int], Any] = lambda pairs: None,
) -> dict:
    """Writes the source's pairs, in order, as shards that `arrayrecord:FOLDER` reads.

    A run that was interrupted goes on after its last whole shard. The files do not depend
    on the number of threads.

    Args:
      source: of the pairs.
      folder: made if it is not there.
      size: smaller side of the stored images in pixels; smaller images stay as they are,
        and with 0 all do.
      quality: of the JPEGs, 1 to 95.
      pairs_a_shard: of the source.
      threads: that decode and encode.
      max_skipped_share: of the records; the run stops if more cannot be used.
      progress: called with the number of pairs done so far.

    Returns:
      What `dataset.json` holds: schema, shards, pairs, and counts of skipped records by
      reason. `skipped.jsonl` lists each of them.

    Raises:
      UserError: if no pair can be used, or too few; if the folder holds other data, or cannot
        be written, or another process writes to it.
    """
    plan = Plan(size, quality, pairs_a_shard, digests.of(source))
    shards = -(-len(source) // pairs_a_shard)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with folders.alone(folder, "prepares", "--out"):
            _claim(folder, plan)
            bad: list[Rejected] = []
            _check(source, folder, bad, max_skipped_share)
            with ThreadPoolExecutor(threads) as pool:
                for number in range(shards):
                    first = number * pairs_a_shard
                    indices = range(first, min(first + pairs_a_shard, len(source)))
                    if not shard_path(folder, number, ".npz").exists():
                        _write_shard(source, folder, number, indices, plan, pool, progress)
                    bad += load_columns(shard_path(folder, number, ".npz")).rejected
                    _check(source, folder, bad, max_skipped_share)
                    progress(indices.stop)
            return _finish(source, folder, shards)
    except OSError as error:
        raise failed(f"{folder} cannot be written", error) from None


def _check(source: Source, folder: Path, bad: list[Rejected], most: float) -> None:
    """Stops where too few records can be used so far; `skipped.jsonl` then lists the others."""
    last, path = bad[-1] if bad else None, folder / "skipped.jsonl"
    found = itertools.chain(source.rejected, bad)
    with listed_if_too_many(path, lambda: write_rejected(path, found)):
        check(source, len(bad), most, last, name="--max-skipped-share")
        if len(bad) < len(source):
            return
        why = last or (source.rejected[-1] if source.rejected else None)
        raise TooManySkipped(
            f"no pair can be used{f' (the last: {why.key}: {why.reason})' if why else ''}"
        )


def _claim(folder: Path, plan: Plan) -> None:
    path = folder / "plan.json"
    try:
        there = json_text.read(path.read_bytes()) if path.exists() else asdict(plan)
    except ValueError:
        there = None
    if there != asdict(plan):
        raise UserError(f"{folder} holds other data or other settings: choose another folder")
    atomic_file.write_text(path, json.dumps(asdict(plan), indent=1) + "\n")


def _write_shard(
    source: Source,
    folder: Path,
    number: int,
    indices: range,
    plan: Plan,
    pool: ThreadPoolExecutor,
    progress: Callable[[int], Any],
) -> None:
    """Writes the images, then the columns, whose file tells that the shard is whole."""
    final = shard_path(folder, number, ".array_record")
    partial = final.with_suffix(".partial")
    kept, rejected = [], []
    with _array_record(partial) as write:
        for start in range(indices.start, indices.stop, _AT_ONCE):
            chunk = range(start, min(start + _AT_ONCE, indices.stop))
            images = pool.map(lambda i: _image(source, i, plan), chunk)
            for index, image in zip(chunk, images, strict=True):
                if isinstance(image, Rejected):
                    rejected.append(image)
                else:
                    kept.append(index)
                    write(image)
            progress(chunk.stop)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(final)
    labels = None if source.labels is None else source.labels[kept]
    captions, names = (
        Chosen(strings, np.array(kept, int)) for strings in (source.captions, source.keys)
    )
    columns = Columns(captions, names, labels, source.class_names, rejected)
    save_columns(shard_path(folder, number, ".npz"), columns)


@contextlib.contextmanager
def _array_record(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Writes records; what the disk does not take is an `OSError`."""
    from array_record.python.array_record_module import ArrayRecordWriter

    try:
        writer = ArrayRecordWriter(str(path), "group_size:1")
        yield writer.write
        writer.close()
    except (RuntimeError, ValueError) as error:
        raise OSError(first_line(error)) from None


def _image(source: Source, index: int, plan: Plan) -> bytes | Rejected:
    """The bytes to store for an image, or why it cannot be used."""
    try:
        return _encoded(source.image(index), plan)
    except BadRecord as error:
        return Rejected(source.keys[index], str(error))
    except Exception as error:
        return Rejected(source.keys[index], f"image cannot be decoded: {first_line(error)}")


def _encoded(content: bytes | np.ndarray, plan: Plan) -> bytes:
    """A JPEG of the planned size, or the given bytes where nothing is to change."""
    if isinstance(content, bytes):
        image = open_image(content, plan.size or MAX_SIDE)
        image.load()
    else:
        image = Image.fromarray(content)
    smaller = min(image.size)
    small = plan.size == 0 or smaller <= plan.size
    if isinstance(content, bytes) and small and (plan.size == 0 or content[:2] == b"\xff\xd8"):
        return content
    if not small:
        width, height = (max(1, round(side * plan.size / smaller)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=plan.quality)
    return buffer.getvalue()


def _finish(source: Source, folder: Path, shards: int) -> dict:
    """Writes `skipped.jsonl` and, last, `dataset.json`."""
    tables = [shard_path(folder, number, ".npz") for number in range(shards)]
    rejected = (record for table in tables for record in load_columns(table).rejected)
    reasons = write_rejected(folder / "skipped.jsonl", itertools.chain(source.rejected, rejected))
    described = {
        "schema": SCHEMA,
        "shards": shards,
        "pairs": sum(len(load_columns(table).keys) for table in tables),
        "skipped": reasons.total(),
        "reasons": dict(reasons.most_common(50)),
    }
    atomic_file.write_text(folder / "dataset.json", json.dumps(described, indent=1) + "\n")
    return described
