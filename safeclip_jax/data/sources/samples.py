"""Samples of several files, in shards and folders: which belong together, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from safeclip_jax.data.prompts import TEMPLATES, readable
from safeclip_jax.data.sources.base import IMAGE_ENDINGS, Rejected, caption_problem
from safeclip_jax.errors import first_line
from safeclip_jax.system import json_text, texts

MAX_TEXT = 2**20
_MAX_JSON = 2**24  # img2dataset writes a picture's metadata there
_TEXTS = (".txt", ".json", ".cls")
_SHOWN = 5


class Member(Protocol):
    """A file of a sample; its name ends with what it is."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...


M = TypeVar("M", bound=Member)


@dataclass(frozen=True)
class Found(Generic[M]):
    """One pair; `image` is the member with its image."""

    key: str
    caption: str
    label: str | None
    image: M


def grouped(members: Iterable[M]) -> tuple[dict[str, dict[str, M]], list[Rejected]]:
    """Members by the sample that they belong to, and those that are there twice.

    A sample's name ends at the last dot, so that names may hold dots. Members that make no
    sample in this way are taken together by what stands before the first dot, as webdataset
    does: `a.input.jpg` and `a.output.txt`.
    """
    samples: dict[str, dict[str, M]] = {}
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
    renamed = dict[str, str]()
    for key, keys in parts.items():
        if key in samples and _is_whole(samples[key]):  # further members of that sample
            for part in keys:
                samples.pop(part)
        elif len(keys) > 1:
            together = [(e, m) for part in keys for e, m in samples[part].items()]
            if _is_whole(dict(together)) and len(dict(together)) == len(together):
                samples[keys[0]], renamed[keys[0]] = dict(together), key
                for part in keys[1:]:
                    samples.pop(part)
    return {renamed.get(key, key): own for key, own in samples.items()}, twice


def _split(name: str, last: bool) -> tuple[str, str]:
    base, slash, tail = name.rpartition("/")
    stem, dot, ending = tail.rpartition(".") if last else tail.partition(".")
    return (base + slash + stem, (dot + ending).lower()) if dot else (name, "")


def _is_whole(members: Mapping[str, object]) -> bool:
    return bool(members.keys() & set(IMAGE_ENDINGS)) and bool(members.keys() & set(_TEXTS))


def pairs(
    read: Callable[[M], bytes],
    key: str,
    members: Mapping[str, M],
    caption_field: str,
    label_field: str,
) -> Iterator[Found[M] | Rejected]:
    """The pairs of a sample, one a caption, or why there is none.

    Args:
      read: gives the bytes of a member.
      key: of the sample.
      members: of the sample.
      caption_field, label_field: of the `.json`; empty for no label.
    """
    image = next((members[ending] for ending in IMAGE_ENDINGS if ending in members), None)
    if image is None:
        yield Rejected(key, f"no image beside {', '.join(list(members)[:_SHOWN])}")
    elif not set(_TEXTS) & set(members):
        yield Rejected(key, "no .txt or .json beside the image")
    elif image.size == 0:
        yield Rejected(key, "image is an empty file")
    else:
        fields, problem = _fields(read, members)
        label = _label(read, members, fields, label_field) if label_field else None
        captions, problem = _captions(read, members, fields, caption_field, problem)
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
                yield Found(name, text, label, image)


def _fields(read: Callable[[M], bytes], members: Mapping[str, M]) -> tuple[dict, str]:
    """What the `.json` holds, or why it holds nothing."""
    if ".json" not in members:
        return {}, ""
    try:
        fields = json_text.read(_checked(read, members[".json"], _MAX_JSON))
    except ValueError as error:
        return {}, f".json cannot be read: {first_line(error)}"
    return (fields, "") if isinstance(fields, dict) else ({}, ".json holds no object")


def _captions(
    read: Callable[[M], bytes], members: Mapping[str, M], fields: dict, name: str, problem: str
) -> tuple[Sequence[object], str]:
    """The captions of a sample: those of its `.txt`, else of its `.json`; or why it has none."""
    of_json = fields.get(name)
    if ".txt" in members:
        try:
            text = texts.decoded(_checked(read, members[".txt"], MAX_TEXT)).strip()
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


def _label(
    read: Callable[[M], bytes], members: Mapping[str, M], fields: dict, name: str
) -> str | None:
    """The class name: a field of the `.json`, else the `.cls`."""
    label = fields.get(name)
    if isinstance(label, str | int):
        return str(label).strip()
    if ".cls" in members:
        try:
            return texts.decoded(_checked(read, members[".cls"], MAX_TEXT)).strip()
        except ValueError:
            return None
    return None


def _checked(read: Callable[[M], bytes], member: M, most: int) -> bytes:
    if member.size > most:
        raise ValueError(f"{member.name[-80:]} of {member.size} bytes is too long")
    return read(member)
