"""The samples of a tar shard: which members belong together, and what they say."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safeclip_jax.data.prompts import TEMPLATES, readable
from safeclip_jax.data.sources.base import IMAGE_ENDINGS, Rejected, caption_problem
from safeclip_jax.errors import first_line
from safeclip_jax.system import json_text, texts

MAX_TEXT = 2**20
_MAX_JSON = 2**24  # img2dataset writes a picture's metadata there
_TEXTS = (".txt", ".json", ".cls")
_SHOWN = 5

Members = dict[str, tarfile.TarInfo]  # by ending


@dataclass(frozen=True)
class Found:
    """One pair of a shard; `offset` and `size` are of its image's bytes."""

    key: str
    caption: str
    label: str | None
    offset: int
    size: int


def grouped(members: Iterable[tarfile.TarInfo]) -> tuple[dict[str, Members], list[Rejected]]:
    """Members by the sample that they belong to, and those that are there twice.

    A sample's name ends at the last dot, so that names may hold dots. Members that make no
    sample in this way are taken together by what stands before the first dot, as webdataset
    does: `a.input.jpg` and `a.output.txt`.
    """
    samples: dict[str, Members] = {}
    twice = []
    for member in members:
        key, ending = _split(member.name, last=True)
        if ending in samples.setdefault(key, {}):
            twice.append(Rejected(member.name, f"second member with the name {member.name}"))
        else:
            samples[key][ending] = member
    parts: dict[str, list[str]] = {}
    for key, own in samples.items():
        if not _is_whole(own):
            parts.setdefault(_split(f"{key}.", last=False)[0], []).append(key)
    for key, keys in parts.items():
        if key in samples and _is_whole(samples[key]):  # further members of that sample
            for part in keys:
                samples.pop(part)
        elif len(keys) > 1:
            together = [(e, m) for part in keys for e, m in samples[part].items()]
            if _is_whole(dict(together)) and len(dict(together)) == len(together):
                samples[keys[0]] = dict(together)
                for part in keys[1:]:
                    samples.pop(part)
                samples = {key if k == keys[0] else k: m for k, m in samples.items()}
    return samples, twice


def _split(name: str, last: bool) -> tuple[str, str]:
    base, slash, tail = name.rpartition("/")
    stem, dot, ending = tail.rpartition(".") if last else tail.partition(".")
    return (base + slash + stem, (dot + ending).lower()) if dot else (name, "")


def _is_whole(members: Mapping[str, object]) -> bool:
    return bool(members.keys() & set(IMAGE_ENDINGS)) and bool(members.keys() & set(_TEXTS))


def pairs(
    file: Any, key: str, members: Members, caption_field: str, label_field: str
) -> Iterator[Found | Rejected]:
    """The pairs of a sample, one a caption, or why there is none."""
    image = next((members[ending] for ending in IMAGE_ENDINGS if ending in members), None)
    if image is None:
        yield Rejected(key, f"no image beside {', '.join(list(members)[:_SHOWN])}")
    elif not set(_TEXTS) & set(members):
        yield Rejected(key, "no .txt or .json beside the image")
    elif image.size == 0:
        yield Rejected(key, "image is an empty file")
    else:
        fields, problem = _fields(file, members)
        label = _label(file, members, fields, label_field) if label_field else None
        captions, problem = _captions(file, members, fields, caption_field, problem)
        if not captions and not problem and label is not None:
            captions = [TEMPLATES[0].format(readable(label))]
        if not captions:
            yield Rejected(key, problem or "caption is missing")
        for number, caption in enumerate(captions):
            name = f"{key}-{number}" if len(captions) > 1 else key
            why = caption_problem(caption)
            if why:
                yield Rejected(name, why)
            else:
                text = str(caption).strip()
                yield Found(name, text, label, image.offset_data, image.size)


def _fields(file: Any, members: Members) -> tuple[dict, str]:
    """What the `.json` holds, or why it holds nothing."""
    if ".json" not in members:
        return {}, ""
    try:
        fields = json_text.read(_read(file, members[".json"], _MAX_JSON))
    except ValueError as error:
        return {}, f".json cannot be read: {first_line(error)}"
    return (fields, "") if isinstance(fields, dict) else ({}, ".json holds no object")


def _captions(
    file: Any, members: Members, fields: dict, name: str, problem: str
) -> tuple[Sequence[object], str]:
    """The captions of a sample: those of its `.txt`, else of its `.json`; or why it has none."""
    of_json = fields.get(name)
    if ".txt" in members:
        try:
            text = texts.decoded(_read(file, members[".txt"], MAX_TEXT)).strip()
            if text and text == str(of_json).strip():
                return [text], ""
            if text:
                return [line for line in text.splitlines() if line.strip()], ""
            problem = problem or "caption is empty"
        except UnicodeDecodeError:
            problem = "caption is not valid UTF-8"
        except ValueError as error:
            problem = first_line(error)
    if isinstance(of_json, list):
        return of_json, problem
    return ([] if of_json is None else [of_json]), problem


def _label(file: Any, members: Members, fields: dict, name: str) -> str | None:
    """The class name: a field of the `.json`, else the `.cls`."""
    label = fields.get(name)
    if isinstance(label, str | int):
        return str(label).strip()
    if ".cls" in members:
        try:
            return texts.decoded(_read(file, members[".cls"], MAX_TEXT)).strip()
        except ValueError:
            return None
    return None


def _read(file: Any, member: tarfile.TarInfo, most: int) -> bytes:
    if member.size > most:
        raise ValueError(f"{member.name[-80:]} of {member.size} bytes is too long")
    file.seek(member.offset_data)
    return file.read(member.size)
