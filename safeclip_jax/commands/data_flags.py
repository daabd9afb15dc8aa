"""The flags by which commands name data."""

from __future__ import annotations

import argparse

from safeclip_jax.data.sources import SourceOptions


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say how a source is read."""
    add = parser.add_argument
    add("--pairs", type=int, default=0, help="at most so many of each data set; default: all")
    add("--data-dir", default="", help="where TFDS data sets were prepared")
    add("--images", default="", help="folder of the images of a table or coco file")
    add("--columns", default="", help="of a table without a header, as caption,url")
    add("--image-column", default="", help="of a table")
    add("--caption-column", default="", help="of a table or .json field")
    add("--label-column", default="", help="of a table or .json field with the class name")

    add("--allow-missing", action="store_true", help="leave out shards that are missing or torn")


def options(given: argparse.Namespace, split: str, count: int, size: int) -> SourceOptions:
    """What the flags say.

    Args:
      given: the parsed flags.
      split: of scenes or tfds data.
      count: how many scenes to draw, or pairs to choose.
      size: side of scenes in pixels.
    """
    return SourceOptions(
        image_column=given.image_column,
        caption_column=given.caption_column,
        label_column=given.label_column,
        images=given.images,
        columns=given.columns,
        split=split,
        data_dir=given.data_dir,
        allow_missing=given.allow_missing,
        count=count,
        size=size,
    )
