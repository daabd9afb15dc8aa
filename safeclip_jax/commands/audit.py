"""`safeclip-jax audit`: which pairs of a data set are poisoned?"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

import safeclip_jax
from safeclip_jax.auditing import own_model, page, report, subject, tables
from safeclip_jax.auditing.report import Audit
from safeclip_jax.auditing.subject import Subject
from safeclip_jax.commands import command_line, data_flags
from safeclip_jax.commands.command_line import GivenConfig, Parser, refuse
from safeclip_jax.commands.program import PROGRAM
from safeclip_jax.data.sources import DRAWN
from safeclip_jax.distributed.sharding import nearest_batch
from safeclip_jax.errors import UserError, printable, said_by
from safeclip_jax.evaluation.embedding import Reading
from safeclip_jax.inference.model import Model
from safeclip_jax.runs import run_data, run_folder, settings
from safeclip_jax.system import folders, host
from safeclip_jax.system.terminal import Passes, console

_EXAMPLES = """
--run runs/demo-safeclip-seed0
--data csv:pairs.csv --checkpoint my-clip
--data webdataset:shards --out audits/shards
"""
_MORE = """
Without a checkpoint a small model is trained on the pairs first, by SafeCLIP, as --config says.
It is what tells best: a model that learned the poisons finds them normal.

It writes to --out:
  audit.html      what was found, and the most suspicious pairs, to look through
  suspects.csv    those pairs with scores, ranks and reasons
  scores.csv      all pairs with their scores
  clean.csv       the pairs to keep, in the input's own format if it is a table; of WebDataset
                  samples their keys, SHARD/SAMPLE
  skipped.jsonl   pairs that cannot be used, with reasons
  vectors/        so that the same command goes on where it stopped
"""


def _parser() -> Parser:
    made = command_line.parser(
        "audit",
        "Scores every pair of a data set and says whether somebody poisoned it.",
        _EXAMPLES,
        _MORE,
    )
    add = made.add_argument
    add("--run", type=Path, help="a run of ours: its data, its model and its pools")
    add("--own-data", action="store_true", help="open the data that the run's config names")
    add("--data", default="", help="KIND:PATH of the pairs, as data.source; docs/data.md")
    add("--checkpoint", type=Path, help="a trained model, ours or not; default: train one")
    add("--config", metavar="NAME|FILE.py", help="how to train it; default: audit")
    add("--config.KEY", metavar="VALUE", help="changes a key of that")
    add("--split", default="train", help="of drawn scenes or tfds data")
    add("--pairs", type=int, default=0, help="at most so many; default: all")
    data_flags.add(made)
    add("--out", type=Path, help="folder to write; default: RUN/audit, else audit")
    add("--suspects", type=int, default=1000, help="pairs to show; default: 1000")
    add("--format", choices=tables.FORMATS, default="csv", help="of suspects and scores")
    add("--batch", type=int, default=256, help="images at a time, all devices together")
    add("--seed", type=int, default=0, help="of the pairs that others are compared with")
    add("--max-skipped-share", type=float, default=0.1, help="of the pairs (0.1)")
    return made


def audited(argv: Sequence[str]) -> Audit:
    """Audits as the flags say, writes what was found, and returns it."""
    given, config = command_line.parse(_parser(), argv)
    host.set_up_jax()
    if bool(given.run) == bool(given.data):
        raise UserError("name what to audit: either --run FOLDER or --data KIND:PATH")
    _refuse_unused(given, config)
    for name in ("batch", "suspects"):
        if getattr(given, name) < 1:
            raise UserError(f"--{name}={getattr(given, name)}: at least 1 is needed")
    out = given.out or (given.run / "audit" if given.run else Path("audit"))
    run_folder.check_writable(out)
    with folders.alone(out, "audits into", "--out"):
        return _audited(given, config, out)


def _refuse_unused(given: argparse.Namespace, config: GivenConfig) -> None:
    """`UserError` for flags that would change nothing."""
    made = _parser()
    if given.data:
        data_flags.check(made, given, [given.data])
        refuse(made, given, ["own_data"], "is for --run: leave it out")
    else:
        names = ["checkpoint", "split", "pairs", *data_flags.NAMES]
        refuse(made, given, names, "is for --data: a run has its own data and model")
    if (given.run or given.checkpoint) and (config.text or config.changes):
        raise UserError("--config says how a model is trained, and one is there: leave it out")


def _audited(given: argparse.Namespace, config: GivenConfig, out: Path) -> Audit:
    audited = _subject(given, config, out)
    reading = Reading(
        nearest_batch(given.batch, audited.model.embedder.mesh),
        audited.model.config.image.image_size,
        threads=os.cpu_count() or 2,
        max_skipped_share=given.max_skipped_share,
    )
    audit = report.audit(audited, out, reading, given.seed, _say())
    clean = report.write(audit, out, given.suspects, given.format)
    _show(audit)
    print(f"page: {out}/audit.html   suspects: {out}/suspects.{given.format}   keep: {clean}")
    return audit


def main(argv: Sequence[str]) -> int:
    with data_flags.own_words(_parser()):
        audited(argv)
    return 0


def _subject(given: argparse.Namespace, config: GivenConfig, out: Path) -> Subject:
    if given.run:
        run = run_folder.read(given.run)
        if run is not None:
            run_data.trusted(run, given.run, given.own_data)
        return subject.of_run(given.run)
    drawn = 12_000 if given.data in DRAWN else 0
    options = data_flags.options(given, given.split, given.pairs or drawn, 32)
    if given.checkpoint:
        return subject.of_model(_model(given.checkpoint), given.data, options)
    return own_model.trained(settings.of(config.read("audit")), given.data, options, out / "model")


def _model(path: Path) -> Model:
    if path.is_file():
        raise UserError(
            f"--checkpoint: {path} is a bare file and a folder is needed: make one with "
            f"{PROGRAM} import --model={path} --preset=NAME --activation=NAME --out=FOLDER"
        )
    with said_by("--checkpoint"):
        return safeclip_jax.load(path)


def _say() -> report.Say:
    passes: dict[str, Passes] = {}

    def say(what: str, done: int, total: int) -> None:
        passes.setdefault(what, Passes(what))(done, total)

    return say


def _facts(audit: Audit) -> list[tuple[str, str]]:
    rejected = len(audit.subject.pairs.rejected)
    return page.facts(audit.findings, audit.subject.poisons, rejected)


def _show(audit: Audit) -> None:
    table = Table("", "", title=audit.verdict.lines[0], show_header=False)
    for name, value in _facts(audit):
        table.add_row(name, value)
    console().print(table)
    for line in audit.verdict.lines[1:]:
        print(printable(line))
