"""The flags by which commands name data."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Iterator, Sequence

from safeclip_jax.commands.command_line import Parser, flag, given
from safeclip_jax.data.presets import PRESETS
from safeclip_jax.data.sources import KINDS, SourceOptions
from safeclip_jax.errors import UserError

_MEANING = {
    "data_dir": "where TFDS data sets were prepared",
    "images": "folder of the images of a table or coco file",
    "columns": "of a table without a header, as caption,url",
    "image_column": "of a table",
    "caption_column": "of a table, .json field or feature",
    "label_column": "of a table or .json field with the class name",
}

NAMES = (*_MEANING, "allow_missing")


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say how a source is read."""
    for name, meaning in _MEANING.items():
        parser.add_argument(flag(name), default="", help=meaning)
    missing = "leave out shards that are missing or torn"
    parser.add_argument("--allow-missing", action="store_true", help=missing)


def check(parser: Parser, arguments: argparse.Namespace, specs: Sequence[str]) -> None:
    """Refuses flags that none of the sources reads.

    Args:
      parser: of the command.
      arguments: the parsed flags.
      specs: of the sources, KIND, KIND:PATH or a preset's name.

    Raises:
      UserError: if there is such a flag.
    """
    kinds = {"tfds" if spec in PRESETS else spec.partition(":")[0] for spec in specs}
    taken = {name for kind in kinds & KINDS.keys() for name in KINDS[kind].takes}
    for name in given(parser, arguments) & ({*NAMES, "split"} - taken):
        of = ", ".join(kind for kind in KINDS if name in KINDS[kind].takes)
        raise UserError(f"{flag(name)} is read by {of}, not by {', '.join(specs)}: leave it out")


@contextlib.contextmanager
def own_words(parser: Parser) -> Iterator[None]:
    """Errors about a config's `data` and `evaluate` name the flags that a command has for them."""

    def words(key: re.Match) -> str:
        name = key[2].partition("=")[0]
        if name == "source" and key[1] == "data":
            return f"{'--data' if '--data' in parser.flags else '--source'}{key[2][len(name) :]}"
        if flag(name) not in parser.flags:
            return key[0]
        return flag(name) if key[2].endswith("=True") else flag(key[2])

    try:
        yield
    except UserError as error:
        keys = r"(?<!names )(?:--config\.)?\b(data|evaluate)\.(\w+(?:=True)?)"
        text = re.sub(keys, words, str(error))
        raise type(error)(text) from None


def options(arguments: argparse.Namespace, split: str, count: int, size: int) -> SourceOptions:
    """What the flags say.

    Args:
      arguments: the parsed flags.
      split: of scenes or tfds data.
      count: how many scenes to draw, or pairs to choose.
      size: side of scenes in pixels.
    """
    of_source = {name: getattr(arguments, name) for name in NAMES}
    return SourceOptions(**of_source, split=split, count=count, size=size)
