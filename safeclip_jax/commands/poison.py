"""Writes a poisoned copy of a data set: `python -m safeclip_jax.poison`."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict
from rich.table import Table

from safeclip_jax.attacks import attack as attacks
from safeclip_jax.attacks import export, surrogate
from safeclip_jax.commands import command_line
from safeclip_jax.data.decode import Resized
from safeclip_jax.data.skipped import write_rejected
from safeclip_jax.errors import UserError
from safeclip_jax.runs import run_data
from safeclip_jax.system.terminal import ProgressLine, console

USAGE = """\
usage: python -m safeclip_jax.poison --config=FILE.py --out=DIR [--format=csv|webdataset]
                                     [--config.KEY=VALUE …]

Writes the training pairs of a config with its attack in them, for any other trainer:

  DIR/train.csv and DIR/images/      or DIR/train-00000.tar … with --format=webdataset
  DIR/test/clean/CLASS/, DIR/test/TRIGGER/CLASS/   held-out images without and with triggers
  DIR/test/chosen.csv                targeted poisoning: the chosen images and their targets
  DIR/poison_manifest.json           the truth: index, key, trigger, both captions
  DIR/skipped.jsonl                  pairs that cannot be used, with reasons

Poisoned images are squares of model.image_size, stored as PNG; all others are copied as they
are. The same config and seed give the same files, and `main` trains on the same poisons.

example:
  python -m safeclip_jax.poison --config=configs/demo.py --out=poisoned \\
      --config.attack.trigger=wanet --config.attack.count=100
"""

_OUT = flags.DEFINE_string("out", None, "Folder to write; it must not be there.")
_FORMAT = flags.DEFINE_enum("format", "csv", export.FORMATS, "Layout of the training pairs.")


def main() -> None:
    config = command_line.config()
    if not _OUT.value:
        raise UserError("no --out given: the folder to write")
    out = Path(_OUT.value)
    if out.exists():
        raise UserError(f"--out={out} is there already: choose another folder or delete it")
    if not config.attack.rate and not config.attack.count:
        raise UserError("nothing to poison: set attack.rate or attack.count")
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / "test").mkdir(parents=True)
        table = _write(config, partial)
        partial.rename(out)
    except OSError as error:
        raise UserError(f"--out={out} cannot be written: {error.strerror or error}") from None
    console().print(table)
    print(f"written to {out}; the truth is in {out}/poison_manifest.json")


def _write(config: ConfigDict, folder: Path) -> Table:
    raw = run_data.raw_pairs(config, None)
    clean = Resized(raw, config.model.image_size)
    match = surrogate.matcher(config.attack.surrogate)
    held_out, attack = attacks.planned(config, clean, None, match)
    share = config.data.max_skipped_share
    with _progress(len(raw), "pairs written") as progress:
        rejected = export.write_training(raw, clean, attack, folder, _FORMAT.value, share, progress)
    if held_out:
        with _progress(len(held_out.images), "test images written") as progress:
            export.write_test(held_out.images, attack, folder / "test", progress)
    attack.manifest.save(folder / "poison_manifest.json")
    write_rejected(folder / "skipped.jsonl", rejected)
    table = Table("", "", title=config.attack.kind, show_header=False)
    table.add_row("pairs", f"{len(raw)}")
    table.add_row("poisoned", f"{len(attack.manifest.pairs)}")
    table.add_row("left out", f"{len(rejected)}")
    return table


@contextlib.contextmanager
def _progress(total: int, text: str) -> Iterator[Callable[[int], None]]:
    line = ProgressLine(total, 0, True)
    try:
        yield lambda done: line.advance_to(done, text)
    finally:
        line.close()


def cli() -> None:
    """Runs the command with the program's arguments."""
    command_line.run(main, lambda: print(USAGE, end=""), sys.argv)


if __name__ == "__main__":
    cli()
