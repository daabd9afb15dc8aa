"""`safeclip-jax prepare`: writes a data set once in the form that trains fastest."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from safeclip_jax.commands import command_line
from safeclip_jax.commands.command_line import Parser
from safeclip_jax.data import prepare
from safeclip_jax.data.sources import KINDS, SourceOptions, open_source
from safeclip_jax.data.sources.index import IndexCache
from safeclip_jax.errors import UserError
from safeclip_jax.system.terminal import ProgressLine, console

_EXAMPLES = """
--source=csv:cc3m/train.tsv --out=cc3m-256 --threads=16
"""
_MORE = """
An interrupted run goes on where it stopped; the same input gives the same files. Train on them
with --config.data.source=arrayrecord:DIR.
"""

_OF_A_SOURCE = {
    "image_column": "csv, tsv, parquet: of image paths",
    "caption_column": "column, .json field or feature of captions",
    "label_column": "column or .json field of class names",
    "images": "folder of the images of a table or coco file",
    "columns": "of a table without a header, as caption,url",
    "split": "of a tfds data set (train)",
    "data_dir": "where tfds data sets were prepared",
}


def _parser() -> Parser:
    made = command_line.parser(
        "prepare", "Any source to ArrayRecord shards with reduced JPEGs.", _EXAMPLES, _MORE
    )
    made.add_argument("--source", required=True, help=f"KIND:PATH; kinds: {', '.join(KINDS)}")
    made.add_argument("--out", required=True, type=Path, help="folder to write")
    size = "smaller side of the stored images in pixels (256); 0 keeps every file as it is"
    made.add_argument("--size", type=int, default=256, help=size)
    made.add_argument("--quality", type=int, default=95, help="of the JPEGs, 1 to 95 (95)")
    shard = "pairs of the source in a shard (10000)"
    made.add_argument("--pairs-a-shard", type=int, default=10_000, help=shard)
    cores = os.cpu_count() or 1
    made.add_argument("--threads", type=int, default=cores, help="that decode; one a core")
    skipped = "of the records; stop if more cannot be used (0.5)"
    made.add_argument("--max-skipped-share", type=float, default=0.5, help=skipped)
    made.add_argument("--count", type=int, default=1000, help="scenes: how many (1000)")
    for name, text in _OF_A_SOURCE.items():
        default = "train" if name == "split" else ""
        made.add_argument(f"--{name.replace('_', '-')}", default=default, help=text)
    missing = "leave out shards that are missing or torn"
    made.add_argument("--allow-missing", action="store_true", help=missing)
    return made


def main(argv: Sequence[str]) -> int:
    arguments, _ = command_line.parse(_parser(), argv)
    for name, least, most in (("size", 0, 4096), ("quality", 1, 95), ("pairs_a_shard", 1, 10**7)):
        if not least <= getattr(arguments, name) <= most:
            raise UserError(f"--{name.replace('_', '-')} is not between {least} and {most}")
    options = {name: getattr(arguments, name) for name in _OF_A_SOURCE}
    size = arguments.size or 256
    cache = IndexCache(arguments.out / "index")
    source = open_source(
        arguments.source,
        SourceOptions(
            **options,
            allow_missing=arguments.allow_missing,
            count=arguments.count,
            size=size,
            cache=cache,
        ),
    )
    progress, start = ProgressLine(len(source), 0, True), time.monotonic()
    try:
        written = prepare.run(
            source,
            arguments.out,
            size=arguments.size,
            quality=arguments.quality,
            pairs_a_shard=arguments.pairs_a_shard,
            threads=arguments.threads,
            max_skipped_share=arguments.max_skipped_share,
            progress=lambda pairs: progress.advance_to(pairs, "pairs prepared"),
        )
    finally:
        progress.close()
    table = Table("", "", title=str(arguments.out), show_header=False)
    table.add_row("pairs", f"{written['pairs']} in {written['shards']} shard(s)")
    table.add_row("seconds", f"{time.monotonic() - start:.1f}")
    table.add_row("skipped", f"{written['skipped']}, listed in {arguments.out}/skipped.jsonl")
    for reason, count in list(written["reasons"].items())[:10]:
        table.add_row("", f"{count} × {reason[:80]}")
    console().print(table)
    print(f"train on it with --config.data.source=arrayrecord:{arguments.out}")
    return 0
