"""A config made real: data, attack, tokenizer, model, compiled steps and defence."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from safeclip_jax.attacks import surrogate
from safeclip_jax.attacks.attack import Attack
from safeclip_jax.data import cores, digests, wordnet
from safeclip_jax.data import left_out as left_outs
from safeclip_jax.data import tokenizer as tokenizers
from safeclip_jax.data.held_out import HeldOut
from safeclip_jax.data.pipeline import ImageReader, Loader, PictureReader
from safeclip_jax.data.skipped import SkippedRecords, listed_if_too_many, write_rejected
from safeclip_jax.data.sources import DRAWN
from safeclip_jax.data.sources.base import ImageSource, Source
from safeclip_jax.defenses.defense import Stage, without
from safeclip_jax.distributed import sharding
from safeclip_jax.distributed.watchdog import Heartbeat, no_heartbeat
from safeclip_jax.errors import UserError, said_by
from safeclip_jax.models import clip
from safeclip_jax.models.clip import Variables
from safeclip_jax.objectives.chunked import Chunks
from safeclip_jax.objectives.objective import Settings
from safeclip_jax.runs import run_attack, run_data, run_folder, same_data, settings
from safeclip_jax.runs.settings import RunSettings
from safeclip_jax.training.state import TrainState, adamw
from safeclip_jax.training.steps import Kind, Steps
from safeclip_jax.weights import pretrained
from safeclip_jax.weights.pretrained import Pretrained


@dataclass(frozen=True)
class Experiment:
    """What a run needs, built from its config alone.

    Attributes:
      source: the training pairs, poisoned if the config says so.
      clean: the training pairs as they are.
      attack: its manifest is the truth about the poisons.
      held_out: images for evaluation, or None.
      also_held_out: those of further data sets.
      loader: makes batches.
      skipped: records that could not be used.
      tokenizer: of the captions.
      steps: compiled functions.
      left_out: pairs that are scored and train in no stage: indices.
      initial: the model's arrays that training starts from, on the host; None for random ones.
    """

    config: RunSettings
    source: ImageSource
    clean: ImageSource
    attack: Attack
    held_out: HeldOut | None
    also_held_out: list[HeldOut]
    loader: Loader
    skipped: SkippedRecords
    tokenizer: tokenizers.Tokenizer
    steps: Steps
    left_out: np.ndarray
    mesh: Mesh
    initial: Variables | None

    def data_digests(self) -> same_data.DigestsOf:
        """What tells whether a run goes on with the data that it began with."""
        found = {same_data.TRAINING: digests.of(self.clean)}
        if self.held_out is not None:
            found[same_data.EVALUATION] = digests.of(self.held_out.images)
        return found

    @property
    def pairs(self) -> np.ndarray:
        """Indices of all pairs."""
        return np.arange(len(self.source), dtype=np.int32)

    def stages(self, epoch: int) -> list[Stage]:
        """The stages of an epoch."""
        return without(self.config.plan.stages(epoch), self.left_out)

    def kinds(self, epochs: range) -> list[Kind]:
        """The kinds of stages to come, in their order."""
        return list(dict.fromkeys(stage.kind for epoch in epochs for stage in self.stages(epoch)))

    def initial_state(self) -> TrainState:
        """Random weights, or those of `init_from`; and what the objectives of all epochs keep."""
        objectives = [objective for objective, _ in self.kinds(range(self.config.epochs))]
        state = self.steps.init(self.config.batch_size, len(self.source), objectives)
        return state if self.initial is None else state.starting_from(self.initial)


def build(
    config: RunSettings | ConfigDict,
    folder: Path | None = None,
    heartbeat: Heartbeat = no_heartbeat,
    kept_in: Path | None = None,
) -> Experiment:
    """Builds the experiment.

    Args:
      config: the run's.
      folder: of the run, which keeps indices of sources and may have its tokenizer; None for a
        run without one.
      heartbeat: hears how a long build of an index goes on.
      kept_in: folder that may keep an optimised patch, where it is not the run's.

    Raises:
      UserError: if anything in the config cannot be used.
    """
    config = settings.of(config)
    mesh = sharding.make_mesh(config.mesh.fsdp)
    sharding.check_batch("batch_size", config.batch_size, mesh)
    sharding.check_batch("score.batch_size", config.score_batch, mesh)
    _check(config, mesh)
    initial = None
    if config.init_from:
        model = config.model
        with said_by("init_from", "model."):
            initial = pretrained.read(Path(config.init_from), model.preset, model.activation)
    exchange = sharding.exchange if jax.process_count() > 1 else None
    cache = None if folder is None else run_folder.indices(folder, heartbeat)
    clean = run_data.training_pairs(config, cache)
    with contextlib.ExitStack() as listing:
        if folder is not None and jax.process_index() == 0:
            path = folder / "skipped.jsonl"
            write = partial(write_rejected, path, clean.rejected)
            listing.enter_context(listed_if_too_many(path, write))
        skipped = SkippedRecords(clean, config.data.max_skipped_share, exchange)
    match = surrogate.matcher(config.attack.surrogate)
    held_out, attack = run_attack.planned(config, clean, cache, match, folder or kept_in)
    source = attack.poisoned(clean)
    tokenizer = _tokenizer(config, clean, folder, initial)
    steps = _steps(config, tokenizer, mesh)
    return Experiment(
        config=config,
        source=source,
        clean=clean,
        attack=attack,
        held_out=held_out,
        also_held_out=run_data.also_held_out(config, cache),
        loader=_loader(config, source, tokenizer, skipped),
        skipped=skipped,
        tokenizer=tokenizer,
        steps=steps,
        left_out=left_outs.read(config.data.leave_out, source),
        mesh=mesh,
        initial=initial
        and pretrained.fitted(initial, steps.model.config, f"init_from={config.init_from}"),
    )


def _check(config: RunSettings, mesh: Mesh) -> None:
    """Checks what depends on several settings."""
    poisons = bool(config.attack.rate or config.attack.count)
    config.plan.check(config.init_from, poisons)
    if config.plan.scored_by:
        with said_by(f"{config.defense}.model", f"{config.defense}."):
            pretrained.read(Path(config.plan.scored_by))
    whole, side = config.augment.picture_size, config.model.image_size
    if 0 < whole < side:
        raise UserError(
            f"augment.picture_size={whole} is below model.image_size={side}: crops would be blurred"
        )
    parts = config.micro_batches
    if config.batch_size % (parts * mesh.size):
        raise UserError(
            f"micro_batches={parts}: batch_size={config.batch_size} does not divide by it on "
            f"{mesh.size} device(s)"
        )
    if config.unimodal.bank_size % config.batch_size:
        raise UserError(
            f"unimodal.bank_size={config.unimodal.bank_size} is not a multiple of "
            f"batch_size={config.batch_size}"
        )
    chunk, held = config.loss_chunk, config.unimodal.bank_size
    if config.unimodal.split_banks:
        held //= mesh.size
    if chunk and (config.batch_size % chunk or held % min(chunk, held)):
        raise UserError(
            f"loss_chunk={chunk} does not divide batch_size and what a device holds of "
            "unimodal.bank_size"
        )


def _loader(
    config: RunSettings,
    source: ImageSource,
    tokenizer: tokenizers.Tokenizer,
    skipped: SkippedRecords,
) -> Loader:
    data, side = config.data, config.model.image_size
    cache_bytes = int(data.cache_gib * 2**30)
    whole = config.augment.picture_size
    in_memory = not whole and 3 * side**2 * len(source) <= cache_bytes
    workers = cores.workers(data.workers, in_memory)
    cache_bytes = 0 if workers else cache_bytes
    thesaurus = wordnet.find(data.wordnet)
    return Loader(
        source.captions,
        ImageReader(source, side, cache_bytes),
        tokenizer,
        skipped,
        config.seed,
        cores.threads(data.threads),
        workers,
        wordnet.Synonyms(thesaurus) if thesaurus else None,
        4 * len(source) * data.context <= cache_bytes,
        jax.process_index(),
        jax.process_count(),
        PictureReader(source, whole) if whole else None,
        data.augment_captions == "published",
    )


def _tokenizer(
    config: RunSettings, source: Source, folder: Path | None, initial: Pretrained | None
) -> tokenizers.Tokenizer:
    """The run's own if it has one, else that of the model it starts from, else as asked for."""
    data = config.data
    if folder is not None and (folder / "tokenizer.json").exists():
        return tokenizers.load(folder / "tokenizer.json", data.context)
    if initial is not None:
        return initial.tokenizer
    trained = data.tokenizer == "train" or (data.tokenizer == "auto" and data.source in DRAWN)
    if trained:
        return tokenizers.train(source.captions, data.vocab_size, data.context)
    return tokenizers.pretrained(
        "clip" if data.tokenizer == "auto" else data.tokenizer, data.context
    )


def _steps(config: RunSettings, tokenizer: tokenizers.Tokenizer, mesh: Mesh) -> Steps:
    shape = clip.configure(
        config.model.preset,
        image_size=config.model.image_size,
        context=config.data.context,
        vocab_size=tokenizer.vocab_size,
        end_id=tokenizer.end_id,
        activation=config.model.activation,
        pool=config.model.pool,
        mean=config.model.mean,
        std=config.model.std,
    )
    optimizer, split_banks = config.optimizer, config.unimodal.split_banks
    chunks = Chunks(config.loss_chunk, mesh, split_banks)
    return Steps(
        clip.CLIP(shape, jnp.dtype(config.model.dtype), config.model.remat, config.model.scan),
        adamw(optimizer.b1, optimizer.b2, optimizer.weight_decay),
        Settings(
            config.augment,
            config.unimodal.bank_size,
            chunks if config.loss_chunk or split_banks else None,
            config.model.image_size,
        ),
        mesh,
        config.seed,
        config.micro_batches,
        config.pair_score if config.score.reuse else None,
    )
