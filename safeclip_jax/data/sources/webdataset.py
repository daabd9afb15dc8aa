"""Pairs from WebDataset tar shards, read in place by an index of member offsets."""

from __future__ import annotations

import io
import os
import tarfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from safeclip_jax.data import files
from safeclip_jax.data.sources.base import Rejected, Source, caption_problem
from safeclip_jax.data.sources.columns import ColumnsBuilder
from safeclip_jax.data.sources.index import IndexCache, Recipe
from safeclip_jax.errors import UserError, first_line
from safeclip_jax.system import json_text

IMAGES = (".jpg", ".jpeg", ".png", ".webp")
_MAX_TEXT = 2**20
_FEW_SHARDS = 8
_AHEAD = 2  # shards a process that are read and wait to be taken


@dataclass(frozen=True)
class _Found:
    """One sample of a shard; `offset` and `size` are of its image's bytes."""

    key: str
    caption: str
    label: str | None
    offset: int
    size: int


class WebDataset(Source):
    """Samples of tar shards: members of one name with the endings of an image and a text.

    The caption is the `.txt` member, or a field of the `.json` member. Nothing is
    extracted. The index is built once, over processes, and kept in `cache`.

    Args:
      path: a folder, a glob, or a range as `shards/{00000..00331}.tar`, local or remote.
      caption_column: field of the `.json` members, for samples without a `.txt`.
      label_column: field of the `.json` members with the class name; empty for none.
      cache: of indices, or None to keep none.

    Raises:
      UserError: if there is no shard, or no sample in them.
    """

    def __init__(
        self,
        path: str,
        caption_column: str = "",
        label_column: str = "",
        cache: IndexCache | None = None,
    ):
        root, self._shards = files.expand(path, ".tar")
        self._files = files.Files(root)
        options = (caption_column or "caption", label_column)
        columns = Recipe(
            "webdataset",
            (self._shards, options),
            lambda: (root, _stamp(root, self._shards)),
            partial(_read, root, self._shards, *options),
            labelled=bool(label_column),
            extra={"place": (3,)},
        ).columns(cache)
        if not len(columns.keys) and not columns.rejected:
            raise UserError(f"{path}: {len(self._shards)} shard(s) without any sample")
        super().__init__(columns)
        self._place = columns.extra["place"]

    def image(self, index: int) -> bytes:
        shard, offset, size = self._place[index].tolist()
        return self._files.read(self._shards[shard], offset, size)


def _read(
    root: str, shards: list[str], caption_field: str, label_field: str, columns: ColumnsBuilder
) -> None:
    read = partial(_read_shard, root, caption_field=caption_field, label_field=label_field)
    for number, samples in enumerate(_over_processes(read, shards)):
        for sample in samples:
            if isinstance(sample, Rejected):
                columns.reject(sample.key, sample.reason)
            else:
                place = (number, sample.offset, sample.size)
                columns.add(sample.key, sample.caption, sample.label, place=place)


def _over_processes(read: Any, shards: list[str]) -> Iterator[list[_Found | Rejected]]:
    workers = min(os.cpu_count() or 1, len(shards) // _FEW_SHARDS)
    if workers < 2:
        yield from map(read, shards)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        ahead: deque[Future] = deque()
        for shard in shards:
            ahead.append(pool.submit(read, shard))
            if len(ahead) > _AHEAD * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _read_shard(
    root: str, shard: str, *, caption_field: str, label_field: str
) -> list[_Found | Rejected]:
    """The samples of one shard in their order, and its records that are none."""
    name = f"{root}/{shard}" if files.is_remote(root) else str(Path(root) / shard)
    try:
        file = files.open_bytes(name)
    except UserError as error:
        return [Rejected(shard, str(error))]
    stem = shard.removesuffix(".tar")
    found: list[_Found | Rejected] = []
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    with file:
        length = file.seek(0, io.SEEK_END)
        file.seek(0)
        for member, problem in _members(file, length):
            base, slash, tail = member.name.rpartition("/")
            key, dot, ending = tail.partition(".")
            key, ending = base + slash + key, (dot + ending).lower()
            if not problem and ending in samples.get(key, {}):
                problem = f"second member with the name {member.name}"
            if problem:
                found.append(Rejected(f"{stem}/{member.name}", problem))
            else:
                samples.setdefault(key, {})[ending] = member
        for key, members in samples.items():
            found.append(_sample(file, f"{stem}/{key}", members, caption_field, label_field))
    return found


def _members(file: Any, length: int) -> Iterator[tuple[tarfile.TarInfo, str]]:
    """The files in a tar with the reason why one cannot be used, up to where it is cut off."""
    last = tarfile.TarInfo("end of the shard")
    last.offset = -1
    try:
        with tarfile.open(fileobj=_Headers(file), mode="r:") as tar:  # type: ignore[call-overload]
            for member in tar:
                if member.offset <= last.offset:
                    raise tarfile.ReadError("a size in it is negative")
                last = member
                if member.isdir():
                    continue
                problem = files.escapes(member.name)
                if not member.isreg() or member.issparse():
                    problem = problem or "member is a link or a device, not a file"
                elif member.size < 0:
                    problem = problem or "its size is negative"
                elif member.offset_data + member.size > length:
                    problem = problem or "the shard is cut off inside this member"
                yield member, problem
    except (tarfile.TarError, OSError, ValueError, EOFError, RecursionError) as error:
        torn = tarfile.TarInfo(f"after {last.name}")
        yield torn, f"the shard cannot be read on: {first_line(error)}"


class _Headers:
    """A shard from which no header of more than a megabyte is read, whatever it says itself."""

    def __init__(self, file: Any):
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > _MAX_TEXT:
            raise tarfile.ReadError(f"a header of {size} bytes is too long")
        return self._file.read(size)


def _sample(
    file: Any,
    key: str,
    members: dict[str, tarfile.TarInfo],
    caption_field: str,
    label_field: str,
) -> _Found | Rejected:
    image = next((members[ending] for ending in IMAGES if ending in members), None)
    if image is None:
        return Rejected(key, f"no image beside {', '.join(members)}")
    if not {".txt", ".json"} & set(members):
        return Rejected(key, "no .txt or .json beside the image")
    if image.size == 0:
        return Rejected(key, "image is an empty file")
    try:
        fields = _json(file, members[".json"]) if ".json" in members else {}
        caption = _text(file, members[".txt"]) if ".txt" in members else fields.get(caption_field)
    except UnicodeDecodeError:
        return Rejected(key, "caption is not valid UTF-8")
    except ValueError as error:
        return Rejected(key, first_line(error))
    problem = caption_problem(caption)
    if problem:
        return Rejected(key, problem)
    label = fields.get(label_field) if label_field else None
    label = str(label) if isinstance(label, str | int) else None
    return _Found(key, str(caption).strip(), label, image.offset_data, image.size)


def _text(file: Any, member: tarfile.TarInfo) -> str:
    if member.size > _MAX_TEXT:
        raise ValueError(f"{member.name} of {member.size} bytes is too long")
    file.seek(member.offset_data)
    return file.read(member.size).decode()


def _json(file: Any, member: tarfile.TarInfo) -> dict:
    text = _text(file, member)
    try:
        fields = json_text.read(text)
    except ValueError as error:
        raise ValueError(f".json cannot be read: {error}") from None
    if not isinstance(fields, dict):
        raise ValueError(".json holds no object")
    return fields


def _stamp(root: str, shards: list[str]) -> list[object]:
    """Sizes and times of the shards that are local."""
    return [] if files.is_remote(root) else [files.stamp(f"{root}/{shard}") for shard in shards]
