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

import numpy as np

from safeclip_jax.data import files
from safeclip_jax.data.sources import samples
from safeclip_jax.data.sources.base import Rejected, Source
from safeclip_jax.data.sources.columns import ColumnsBuilder
from safeclip_jax.data.sources.index import IndexCache, Recipe
from safeclip_jax.data.sources.samples import MAX_TEXT, Found
from safeclip_jax.errors import UserError, first_line

_FEW_SHARDS = 8
_MAX_SHARD = 2**44  # bytes
_BLOCK = tarfile.BLOCKSIZE
_ZIPPED = (".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2")
_TORN = "//torn"  # no member's name
_ALLOW = "fetch it again, or leave such shards out with data.allow_missing=True"
_AHEAD = 2  # shards a process that are read and wait to be taken


class WebDataset(Source):
    """Samples of tar shards: members of one name with the endings of an image and a text.

    A line of the `.txt` member is a caption, else a field of the `.json` member. Nothing is
    extracted. The index is built once, over processes, and kept in `cache`.

    Args:
      path: a folder, a glob, or a range as `shards/{00000..00331}.tar`, local or remote.
      caption_column: field of the `.json` members, for samples without a `.txt`.
      label_column: field of the `.json` members with the class name; empty for none.
      cache: of indices, or None to keep none.
      strict: whether a shard that is missing or torn is an error, not a rejected record.

    Raises:
      UserError: if there is no shard, or no sample in them, or shards are compressed.
    """

    def __init__(
        self,
        path: str,
        caption_column: str = "",
        label_column: str = "",
        cache: IndexCache | None = None,
        strict: bool = False,
    ):
        _refuse_zipped(path)
        root, self._shards = files.expand(path, ".tar")
        if strict:
            _all_there(root, self._shards)
        self._files = files.Files(root)
        options = (caption_column or "caption", label_column)
        columns = Recipe(
            "webdataset",
            (self._shards, options, strict),
            lambda: (root, _stamp(root, self._shards)),
            partial(_read, root, self._shards, *options, strict),
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

    def image_numbers(self) -> np.ndarray:
        place = self._place[:, 0] * _MAX_SHARD + self._place[:, 1]
        return np.unique(place, return_inverse=True)[1]


@dataclass(frozen=True, slots=True)
class _Member:
    """A file in a shard, and where its bytes begin."""

    name: str
    size: int
    offset: int


class _Torn(Rejected):
    """A shard, or the rest of one, that cannot be read."""


def _refuse_zipped(path: str) -> None:
    """`UserError` for shards that are compressed: nothing in them can be read at random."""
    zipped = path if path.endswith(_ZIPPED) else ""
    if not files.is_remote(path) and Path(path).is_dir():
        zipped = next(
            (p.name for p in sorted(Path(path).iterdir()) if p.name.endswith(_ZIPPED)), ""
        )
    if zipped:
        raise UserError(
            f"{zipped} is compressed, and pairs are read at random: unpack .tar.gz shards to "
            ".tar first (gunzip)"
        )


def _all_there(root: str, shards: list[str]) -> None:
    """`UserError` if local shards that a range names are missing."""
    gone = [s for s in shards if not files.is_remote(root) and not (Path(root) / s).exists()]
    if gone:
        raise UserError(
            f"{len(gone)} of {len(shards)} shards are missing, {gone[0]} first: {_ALLOW}"
        )


def _read(
    root: str,
    shards: list[str],
    caption_field: str,
    label_field: str,
    strict: bool,
    columns: ColumnsBuilder,
) -> None:
    read = partial(_read_shard, root, caption_field=caption_field, label_field=label_field)
    for number, found in enumerate(_over_processes(read, shards)):
        for sample in found:
            if isinstance(sample, Rejected):
                if strict and isinstance(sample, _Torn):
                    raise UserError(f"{sample.key}: {sample.reason}: {_ALLOW}")
                columns.reject(sample.key, sample.reason)
            else:
                place = (number, sample.image.offset, sample.image.size)
                columns.add(sample.key, sample.caption, sample.label, place=place)


def _over_processes(read: Any, shards: list[str]) -> Iterator[list[Found | Rejected]]:
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
) -> list[Found | Rejected]:
    """The samples of one shard in their order, and its records that are none."""
    name = f"{root}/{shard}" if files.is_remote(root) else str(Path(root) / shard)
    try:
        file = files.open_bytes(name)
    except UserError as error:
        return [_Torn(shard, str(error))]
    stem = shard.removesuffix(".tar")
    found: list[Found | Rejected] = []
    members = []
    with file:
        length = file.seek(0, io.SEEK_END)
        file.seek(0)
        for member, problem in _members(file, length):
            if not problem:
                members.append(_Member(member.name, member.size, member.offset_data))
            elif member.name.startswith(_TORN):
                place = member.name.removeprefix(_TORN)
                found.append(_Torn(f"{stem}/after {place}", problem))
            else:
                found.append(Rejected(f"{stem}/{member.name}", problem))

        def read(member: _Member) -> bytes:
            file.seek(member.offset)
            return file.read(member.size)

        whole, twice = samples.grouped(members)
        found += [Rejected(f"{stem}/{record.key}", record.reason) for record in twice]
        for key, own in whole.items():
            found += samples.pairs(read, f"{stem}/{key}", own, caption_field, label_field)
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
            file.seek(tar.offset)
            if any(end := file.read(_BLOCK)) or len(end) < _BLOCK:
                raise tarfile.ReadError("it ends without an end-of-archive block")
    except (tarfile.TarError, OSError, ValueError, EOFError, RecursionError) as error:
        torn = tarfile.TarInfo(f"{_TORN}{last.name}")
        yield torn, f"the shard cannot be read on: {first_line(error)}"


class _Headers:
    """A shard from which no header of more than a megabyte is read, whatever it says itself."""

    def __init__(self, file: Any):
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > MAX_TEXT:
            raise tarfile.ReadError(f"a header of {size} bytes is too long")
        return self._file.read(size)


def _stamp(root: str, shards: list[str]) -> list[object]:
    """Sizes and times of the shards that are local."""
    return [] if files.is_remote(root) else [files.stamp(f"{root}/{shard}") for shard in shards]
