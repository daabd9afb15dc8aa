"""What can be checked before training, and the plan of a run (`--dry-run`)."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.table import Table

from safeclip_jax.data.pipeline import steps_in_stage
from safeclip_jax.defenses.defense import Stage
from safeclip_jax.errors import BadRecord, Outage, UserError
from safeclip_jax.runs import run_folder, same_data
from safeclip_jax.runs.settings import RunSettings
from safeclip_jax.system import cpu
from safeclip_jax.system.terminal import console
from safeclip_jax.training.evaluator import Evaluator
from safeclip_jax.training.experiment import Experiment, build
from safeclip_jax.training.state import TrainState
from safeclip_jax.training.steps import Kind

_GIB = 2**30
_SAMPLE = 100  # images
_FAR = 10_000  # epochs, further than a plan reaches


def check(folder: Path) -> None:
    """Checks, within moments, that the run's folder can take its checkpoints.

    Raises:
      UserError: if the folder cannot be written; `Outage` if its disk is too full.
    """
    run_folder.check_writable(folder)
    free = shutil.disk_usage(folder).free
    if free < 256 * 2**20:
        raise Outage(f"{folder}: {free / 2**20:.0f} MiB free on its disk, need 256 MiB")


def dry_run(config: RunSettings, folder: Path, accept: Collection[str] = ()) -> None:
    """Checks config, data, devices, disk and memory, and prints the plan of the run.

    Compiles the step of every objective, so memory is what the compiler says.

    Raises:
      UserError: at the first thing that would stop the run.
    """
    run_folder.check_config(folder, config, accept)
    x = build(_with_a_hasty_patch(config), kept_in=folder)
    same_data.check(folder, x.data_digests(), accept)
    Evaluator(x)
    images = _sample(x)
    state = x.initial_state()
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    on_device = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state))
    disk = state_bytes * (config.keep_checkpoints + 1) + 5 * len(x.source) * config.epochs
    free = shutil.disk_usage(folder).free
    if disk > free:
        raise Outage(f"{folder}: the run needs {disk / _GIB:.1f} GiB, {free / _GIB:.1f} are free")
    out = console()
    out.print(_data_table(x, images, parameters, on_device, disk, free))
    stages = _plan(x)
    out.print(_plan_table(x, stages))
    out.print(_memory_table(x, state, x.kinds(range(config.epochs))))
    for line in remarks(x):
        out.print(line)
    out.print("all checks passed; nothing was trained")


def _with_a_hasty_patch(config: RunSettings) -> RunSettings:
    """The settings with an optimised patch that costs nothing: the plan does not depend on it."""
    attack: Any = config.attack
    return replace(config, attack=replace(attack, badclip=replace(attack.badclip, steps=1)))


def remarks(x: Experiment) -> Iterator[str]:
    """What a user may want to know before training begins."""
    config = x.config
    slow = config.model.dtype == "bfloat16" and jax.default_backend() == "cpu"
    if slow and not cpu.has_bfloat16_units():
        yield "model.dtype=bfloat16: this processor has no units for it, float32 is faster"
    if any(augmented for _, augmented in x.kinds(range(config.epochs))):
        yield f"captions are augmented by {x.loader.caption_operations()}"
    if config.batch_size > len(x.source):
        yield f"batch_size={config.batch_size} is more than the {len(x.source)} pairs: they repeat"
    if lost := _lost_phrases(x):
        yield (
            f"{lost} poisoned captions lose attack.phrase: they are longer than "
            f"data.context={config.data.context} tokens"
        )
    filters = [epoch for epoch in range(_FAR) if config.plan.before(epoch).pools]
    if filters and filters[0] >= config.epochs:
        yield (
            f"epochs={config.epochs} end before {config.defense} makes its first pools, in epoch "
            f"{filters[0] + 1}: nothing is filtered"
        )


def _lost_phrases(x: Experiment) -> int:
    """Poisons of a text backdoor whose tokens are those of the caption without the phrase."""
    if x.attack.manifest.kind != "text_backdoor":
        return 0
    pairs = x.attack.manifest.pairs
    with_it, without = (
        x.tokenizer.encode([getattr(pair, name) for pair in pairs])
        for name in ("caption", "original_caption")
    )
    return int(np.count_nonzero((with_it == without).all(axis=1))) if pairs else 0


def _sample(x: Experiment) -> str:
    """Reads some images, spread over the data; in words, what became of them."""
    indices = np.unique(np.linspace(0, len(x.source) - 1, _SAMPLE).astype(np.int32))
    _, bad = x.loader.images(indices)
    share = len(bad) / len(indices)
    if not bad:
        return f"{len(indices)} read, all can be used"
    index, reason = next(iter(bad.items()))
    found = f"{len(bad)} of {len(indices)} cannot be used, the first: {x.source.keys[index]}: "
    if share > x.config.data.max_skipped_share:
        raise UserError(
            f"{found}{reason}; more than data.max_skipped_share="
            f"{x.config.data.max_skipped_share} allows"
        )
    return found + reason


def _data_table(
    x: Experiment, images: str, parameters: int, state: int, disk: int, free: int
) -> Table:
    table = Table("", "", title="what runs", show_header=False)
    devices = f"{x.mesh.size} × {jax.devices()[0].device_kind}, {jax.process_count()} process(es)"
    table.add_row("devices", devices)
    table.add_row("batch", f"{x.config.batch_size}, {x.config.batch_size // x.mesh.size} a device")
    table.add_row("pairs", f"{len(x.source)}, {len(x.attack.manifest.pairs)} of them poisoned")
    if x.source.rejected:
        first = x.source.rejected[0]
        text = f"{len(x.source.rejected)}, the first: {first.key}: {first.reason}"
        table.add_row("rejected records", text)
    table.add_row("first pair", _first_pair(x))
    table.add_row("images", images)
    table.add_row("vocabulary", f"{x.tokenizer.vocab_size} tokens, context {x.tokenizer.context}")
    table.add_row("parameters", f"{parameters / 1e6:.1f} M")
    table.add_row("train state", f"{state / 2**20:.0f} MiB a device")
    table.add_row("disk", f"{disk / _GIB:.2f} GiB needed, {free / _GIB:.1f} free")
    return table


def _first_pair(x: Experiment) -> str:
    key = x.source.keys[0]
    try:
        image = x.source.image(0)
    except BadRecord as reason:
        return f"{key} cannot be used: {reason}"
    return f"{key}: {image.shape[1]}×{image.shape[0]} pixels, {x.source.captions[0][:60]!r}"


def _plan(x: Experiment) -> list[tuple[int, int, Stage]]:
    """Stages of the run as (first epoch, last epoch, stage)."""
    runs: dict[str, tuple[int, int, Stage]] = {}
    for epoch in range(x.config.epochs):
        for stage in x.stages(epoch):
            first = runs[stage.name][0] if stage.name in runs else epoch
            runs[stage.name] = (first, epoch, stage)
    return list(runs.values())


def _plan_table(x: Experiment, stages: list[tuple[int, int, Stage]]) -> Table:
    table = Table("epochs", "stage", "loss", "augmented", "rate", "pairs", "steps", title="plan")
    for first, last, stage in stages:
        pairs = stage.part.count(len(x.source))
        steps = None if pairs is None else steps_in_stage(pairs, x.config.batch_size)
        table.add_row(
            f"{first + 1}–{last + 1}",
            stage.name,
            stage.objective.name,
            "yes" if stage.augment else "no",
            "schedule" if stage.learning_rate is None else f"{stage.learning_rate:g}",
            "by the scores" if pairs is None else f"{pairs}",
            "by the scores" if steps is None else f"{steps}",
        )
    return table


def _memory_table(x: Experiment, state: TrainState, kinds: list[Kind]) -> Table:
    table = Table("step", "GiB a device, by the compiler", title="memory")
    for objective, augmented in kinds:
        step = x.steps.lower_train((objective, augmented), state, x.config.batch_size)
        memory: Any = step.compile().memory_analysis()
        used = memory.temp_size_in_bytes + memory.argument_size_in_bytes
        name = f"{objective.name}, {'augmented' if augmented else 'plain'}"
        table.add_row(name, f"{used / _GIB:.2f}")
    return table
