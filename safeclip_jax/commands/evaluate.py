"""`safeclip-jax evaluate`: evaluates trained models."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from safeclip_jax.commands import command_line, data_flags
from safeclip_jax.commands.command_line import Parser
from safeclip_jax.data import digests
from safeclip_jax.data.held_out import HeldOut, Request, open_held_out
from safeclip_jax.data.presets import PRESETS
from safeclip_jax.data.skipped import check, listed_if_too_many
from safeclip_jax.data.sources import DRAWN
from safeclip_jax.data.sources.base import Rejected
from safeclip_jax.distributed.sharding import nearest_batch
from safeclip_jax.errors import UserError, said_by
from safeclip_jax.evaluation import features, records, tasks
from safeclip_jax.evaluation.embedding import Embedding, Reading
from safeclip_jax.evaluation.features import KeptFeatures
from safeclip_jax.evaluation.records import Record
from safeclip_jax.evaluation.subject import Subject, by_name, open_subject
from safeclip_jax.runs import run_data, run_folder
from safeclip_jax.system import atomic_file, host
from safeclip_jax.system.terminal import Passes

Skipped = tuple[str, Rejected]  # with the data set's name
_OF_DATA = ("pairs", "split", "prompts", "learn")

_EXAMPLES = """
--checkpoint runs/demo-safeclip-seed0
--checkpoint runs/A runs/B --tasks zero_shot attack --triggers all
--checkpoint my-hf-clip --data cifar10 dtd --data-dir ~/tfds --tasks zero_shot linear_probe
--checkpoint my-hf-clip --tasks retrieval --data coco:captions_val2017.json --images val2017
"""
_MORE = f"""
data sets by name: {", ".join(PRESETS)}
"""


def _parser() -> Parser:
    made = command_line.parser(
        "evaluate",
        "Evaluates trained models, ours or not, and compares them in one table.",
        _EXAMPLES,
        _MORE,
    )
    add = made.add_argument
    add("--checkpoint", nargs="+", type=Path, required=True, help="folders of runs or models")
    add(
        "--tasks",
        nargs="+",
        default=["zero_shot"],
        metavar="TASK",
        help="zero_shot retrieval linear_probe published_probe knn attack; default: zero_shot",
    )
    add("--data", nargs="+", default=[], help="names below or KIND:PATH; default: the run's own")
    add("--own-data", action="store_true", help="open the data that the run's config names")
    add("--split", default="test", help="of drawn scenes or tfds data; default: the data set's own")
    add("--pairs", type=int, default=0, help="at most so many of each data set; default: all")
    data_flags.add(made)
    add("--prompts", default="", help="JSON file with templates, classes, prompts")
    add("--learn", default="", help="KIND:PATH that probes learn from; default: training split")
    add("--triggers", nargs="+", default=[], help="of attack; all; default: those of the run")
    add("--target", default="", help="class of the attack; default: that of the run")
    add("--batch", type=int, default=256, help="images at a time, all devices together")
    add("--max-skipped-share", type=float, default=0.1, help="of a data set's images (0.1)")
    add("--cache", type=Path, help="folder for image features; default: the user's cache")
    add("--no-cache", action="store_true", help="keep no image features")
    add("--config", metavar="NAME|FILE.py", help="settings of models that are no runs of ours")
    add("--config.KEY", metavar="VALUE", help="changes a key of the runs: attack.…, evaluate.…")
    add("--preset", default="", help="of a bare file of tensors: vit_b32, rn50, …")
    add("--activation", default="", help="of a bare file: gelu or quick_gelu")
    add("--out", type=Path, default=Path("evaluation"), help="folder to write; evaluation")
    return made  # fmt: skip


def evaluated(argv: Sequence[str]) -> list[Record]:
    """Evaluates as the flags say, writes what was found, and returns it."""
    arguments, given = command_line.parse(_parser(), argv)
    host.set_up_jax()
    _refuse_unused(arguments)
    if arguments.batch < 1:
        raise UserError(f"--batch={arguments.batch}: at least 1 is needed")
    for task in arguments.tasks:
        if task != "attack":
            tasks.create([task], tasks.NO_ATTACK)
    run_folder.check_writable(arguments.out)
    found: list[Record] = []
    skipped: dict[Skipped, None] = {}
    listed = arguments.out / "skipped.jsonl"
    with listed_if_too_many(listed, lambda: _list(listed, skipped)):
        for name, path in by_name(arguments.checkpoint).items():
            with said_by("--checkpoint"):
                subject = open_subject(name, path, arguments.preset, arguments.activation)
            subject = replace(subject, run=given.changed(subject.run))
            for held_out in _held_out(arguments, subject):
                found += _evaluate(arguments, subject, held_out, skipped)
    records.write(arguments.out, found)
    _list(listed, skipped)
    if skipped:
        print(f"{len(skipped)} records could not be used: {listed}")
    print(f"tables: {arguments.out}/results.md, results.csv   report: {arguments.out}/report.html")
    return found


def _refuse_unused(arguments: argparse.Namespace) -> None:
    """`UserError` for flags that would change nothing."""
    made, tasks = _parser(), {*arguments.tasks}
    refuse = partial(command_line.refuse, made, arguments)
    if arguments.data:
        data_flags.check(made, arguments, arguments.data)
        refuse(["own_data"], "is for a run's own data: leave it out, or leave out --data")
    else:
        names = [*_OF_DATA, *data_flags.NAMES]
        refuse(names, "is of data that --data names: name it, or change the run's config")
    if not tasks & {"linear_probe", "published_probe", "knn"}:
        refuse(["learn"], "is for --tasks linear_probe, published_probe and knn")
    if "attack" not in tasks:
        refuse(["triggers", "target"], "is for --tasks attack")
    if arguments.no_cache:
        refuse(["cache"], "and --no-cache exclude each other")
    if all(path.is_dir() for path in arguments.checkpoint):
        refuse(["preset", "activation"], "is for a bare file of tensors, not for a folder")


def _list(path: Path, skipped: Iterable[Skipped]) -> None:
    lines = [json.dumps({"data": name, **asdict(bad)}) + "\n" for name, bad in skipped]
    atomic_file.write_text(path, "".join(lines))


def main(argv: Sequence[str]) -> int:
    with data_flags.own_words(_parser()):
        evaluated(argv)
    return 0


def _held_out(arguments: argparse.Namespace, subject: Subject) -> Iterator[HeldOut]:
    if not arguments.data:
        if subject.run is not None:
            run_data.trusted(subject.run, subject.path, arguments.own_data)
        yield subject.own_held_out()
    for source in arguments.data:
        count = arguments.pairs or (2000 if source in DRAWN else 0)
        side = subject.model.config.image.image_size
        options = data_flags.options(arguments, arguments.split, count, side)
        yield open_held_out(
            Request(source, options, prompts=arguments.prompts, learn=arguments.learn)
        )


def _evaluate(
    arguments: argparse.Namespace,
    subject: Subject,
    held_out: HeldOut,
    skipped: dict[Skipped, None],
) -> Iterator[Record]:
    model, mesh = subject.model, subject.model.embedder.mesh
    images = held_out.images
    skipped |= dict.fromkeys((held_out.name, bad) for bad in images.rejected)
    check(images, 0, arguments.max_skipped_share, name="--max-skipped-share")
    progress = Passes(f"{subject.name}, {held_out.name}")
    reading = Reading(
        nearest_batch(arguments.batch, mesh),
        model.config.image.image_size,
        threads=os.cpu_count() or 2,
        max_skipped_share=arguments.max_skipped_share,
        progress=progress,
    )
    embedding = Embedding(model.embedder, model.variables, model.tokenizer, reading)
    embed_images = embedding.images
    cache = arguments.cache or host.cache_folder("features")
    if cache is not None and not arguments.no_cache:
        mark = features.of_model(model)
        embed_images = KeptFeatures(embedding.images, mark, cache, reading.skipped)
    attack = tasks.NO_ATTACK
    if "attack" in arguments.tasks:
        attack = subject.attack(arguments.triggers, arguments.target, not arguments.data)
    seen = json.dumps(digests.of(images))
    for name, task in tasks.create(arguments.tasks, attack).items():
        try:
            metrics = task(embed_images, embedding.texts, held_out, mesh)
        finally:
            bad = [Rejected(key, why) for key, why in reading.skipped.items()]
            skipped |= dict.fromkeys((held_out.name, record) for record in bad)
        if not metrics:
            print(f"note: {name} has nothing to measure on {held_out.name}")
            continue
        yield Record(
            subject.name,
            str(subject.path),
            held_out.name,
            name,
            metrics,
            held_out.class_names,
            len(images.rejected) + len(bad),
            len(images.rejected) + len(images),
            features.digest_of([seen, repr(attack) if name == "attack" else ""]),
        )
