"""`safeclip-jax prepare`: writes a data set once in the form that trains fastest."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from safeclip_jax.commands import command_line, data_flags
from safeclip_jax.commands.command_line import Parser
from safeclip_jax.data import prepare
from safeclip_jax.data.sources import DRAWN, KINDS, open_source
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
    made.add_argument("--count", type=int, default=1000, help="drawn scenes: how many (1000)")
    made.add_argument("--split", default="train", help="of drawn scenes or tfds data (train)")
    data_flags.add(made)
    return made


def main(argv: Sequence[str]) -> int:
    made = _parser()
    arguments, _ = command_line.parse(made, argv)
    with data_flags.own_words(made):
        return _prepared(made, arguments)


def _prepared(made: Parser, arguments: argparse.Namespace) -> int:
    data_flags.check(made, arguments, [arguments.source])
    if arguments.source not in DRAWN:
        command_line.refuse(
            made, arguments, ["count"], "is of drawn scenes: other data are taken whole"
        )
    if not arguments.size:
        command_line.refuse(made, arguments, ["quality"], "changes nothing with --size=0")
    for name, least, most in (("size", 0, 4096), ("quality", 1, 95), ("pairs_a_shard", 1, 10**7)):
        if not least <= getattr(arguments, name) <= most:
            raise UserError(f"--{name.replace('_', '-')} is not between {least} and {most}")
    size = arguments.size or 256
    options = data_flags.options(arguments, arguments.split, arguments.count, size)
    cache = IndexCache(arguments.out / "index")
    source = open_source(arguments.source, replace(options, cache=cache))
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
