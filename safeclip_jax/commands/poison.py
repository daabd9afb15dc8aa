"""`safeclip-jax poison`: writes a poisoned copy of a data set."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.table import Table

from safeclip_jax.attacks import export, optimized_patch, surrogate
from safeclip_jax.commands import command_line
from safeclip_jax.commands.command_line import Parser
from safeclip_jax.data import skipped
from safeclip_jax.data.decode import Resized
from safeclip_jax.data.sources.base import Rejected
from safeclip_jax.errors import UserError, failed
from safeclip_jax.runs import run_attack, run_data, settings
from safeclip_jax.runs.settings import RunSettings
from safeclip_jax.system import folders, host
from safeclip_jax.system.terminal import ProgressLine, console

_EXAMPLES = """
--config=demo --out=poisoned
--config=demo --out=poisoned --config.attack.trigger=wanet --config.attack.count=100
"""
_MORE = """
It writes the training pairs of a config with its attack in them, for any other trainer:

  DIR/train.csv and DIR/images/      or DIR/train-00000.tar … with --format=webdataset
  DIR/test/clean/CLASS/, DIR/test/TRIGGER/CLASS/   held-out images without and with triggers
  DIR/test/chosen.csv                targeted poisoning: the chosen images and their targets
  DIR/poison_manifest.json           the truth: index, key, trigger, both captions
  DIR/trigger.png                    badclip: the patch
  DIR/skipped.jsonl                  pairs that cannot be used, with reasons

A poisoned image is a file like the one that it replaces: format, size and quality. All others are
copied as they are. The same config and seed give the same files, and `train` trains on the same
poisons, at model.image_size.
"""


def _parser() -> Parser:
    made = command_line.parser(
        "poison",
        "Writes a poisoned copy of a data set and triggered test images.",
        _EXAMPLES,
        _MORE,
    )
    made.add_argument("--config", metavar="NAME|FILE.py", help="data and attack, as of a run")
    made.add_argument("--config.KEY", metavar="VALUE", help="changes a key")
    made.add_argument("--out", type=Path, required=True, help="folder to write, a new one")
    made.add_argument("--format", default="csv", choices=export.FORMATS, help="of the pairs; csv")
    return made


def main(argv: Sequence[str]) -> int:
    flags, given = command_line.parse(_parser(), argv)
    run, out = settings.of(given.read()), flags.out
    if out.exists():
        raise UserError(f"--out={out} is there already: choose another folder or delete it")
    if not run.attack.rate and not run.attack.count:
        raise UserError("nothing to poison: set attack.rate or attack.count")
    host.set_up_jax()
    rejected: list[Rejected] = []
    listed = out.with_name(f"{out.name}-skipped.jsonl")
    try:
        with (
            skipped.listed_if_too_many(listed, lambda: skipped.write_rejected(listed, rejected)),
            folders.writing(out) as partial,
        ):
            (partial / "test").mkdir()
            table = _write(run, partial, flags.format, rejected)
    except OSError as error:
        raise failed(f"--out={out} cannot be written", error) from None
    console().print(table)
    print(f"written to {out}; the truth is in {out}/poison_manifest.json")
    return 0


def _write(run: RunSettings, folder: Path, form: str, rejected: list[Rejected]) -> Table:
    raw = run_data.raw_pairs(run, None)
    clean = Resized(raw, run.model.image_size)
    match = surrogate.matcher(run.attack.surrogate)
    held_out, attack = run_attack.planned(run, clean, None, match)
    share = run.data.max_skipped_share
    with _progress(len(raw), "pairs written") as progress:
        export.write_training(raw, clean, attack, folder, form, share, progress, rejected)
    left_out, unused = len(rejected), list[Rejected]()
    if held_out:
        with _progress(len(held_out.images), "test images written") as progress:
            export.write_test(held_out.images, attack, folder / "test", progress, unused)
        skipped.check(held_out.images, len(unused) - len(held_out.images.rejected), share)
    attack.manifest.save(folder / "poison_manifest.json")
    optimized_patch.keep(attack.triggers, folder)
    skipped.write_rejected(folder / "skipped.jsonl", rejected + unused)
    table = Table("", "", title=run.attack.kind, show_header=False)
    table.add_row("pairs", f"{len(raw)}")
    table.add_row("poisoned", f"{len(attack.manifest.pairs)}")
    table.add_row("left out", f"{left_out}")
    if held_out:
        table.add_row("test images", f"{len(held_out.images)}")
        table.add_row("test images left out", f"{len(unused)}")
    return table


@contextlib.contextmanager
def _progress(total: int, text: str) -> Iterator[Callable[[int], None]]:
    line = ProgressLine(total, 0, True)
    try:
        yield lambda done: line.advance_to(done, text)
    finally:
        line.close()
