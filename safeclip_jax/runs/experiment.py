"""A config made real: data, attack, tokenizer, model, compiled steps and defence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from safeclip_jax import defenses
from safeclip_jax.distributed import sharding
from safeclip_jax.attacks import surrogate
from safeclip_jax.runs import run_folder
from safeclip_jax.attacks import attack as attacks
from safeclip_jax.attacks.attack import Attack
from safeclip_jax.objectives.chunked import Chunks
from safeclip_jax.data import cores, wordnet
from safeclip_jax.runs import run_data
from safeclip_jax.data import left_out as left_outs
from safeclip_jax.data import tokenizer as tokenizers
from safeclip_jax.data.augment_image import ImageAugmentation
from safeclip_jax.data.held_out import HeldOut
from safeclip_jax.data.pipeline import ImageReader, Loader
from safeclip_jax.data.skipped import SkippedRecords
from safeclip_jax.data.sources.base import ImageSource, Source
from safeclip_jax.defenses.plan import Without
from safeclip_jax.inference.embedder import Variables
from safeclip_jax.errors import UserError, unknown
from safeclip_jax.models import clip, remat
from safeclip_jax.objectives.objective import Settings
from safeclip_jax.distributed.watchdog import Beat, nobody
from safeclip_jax.training.steps import SCORES, SCORE_VIEWS, Steps, make_optimizer
from safeclip_jax.weights import pretrained
from safeclip_jax.weights.pretrained import Pretrained

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
REMAT = ("none", *remat.POLICIES)


@dataclass(frozen=True)
class Experiment:
    """What a run needs, built from its config alone.

    Attributes:
      source: the training pairs, poisoned if the config says so.
      attack: its manifest is the truth about the poisons.
      held_out: images for evaluation, or None.
      also_held_out: those of further data sets.
      loader: makes batches.
      skipped: records that could not be used.
      tokenizer: of the captions.
      steps: compiled functions.
      defense: the plan.
      initial: the model's arrays that training starts from, on the host; None for random ones.
    """

    config: ConfigDict
    source: ImageSource
    attack: Attack
    held_out: HeldOut | None
    also_held_out: list[HeldOut]
    loader: Loader
    skipped: SkippedRecords
    tokenizer: tokenizers.Tokenizer
    steps: Steps
    defense: defenses.Defense
    mesh: Mesh
    initial: Variables | None

    @property
    def pairs(self) -> np.ndarray:
        """Indices of all pairs."""
        return np.arange(len(self.source), dtype=np.int32)


def build(config: ConfigDict, folder: Path | None = None, beat: Beat = nobody) -> Experiment:
    """Builds the experiment.

    Args:
      config: the run's.
      folder: of the run, which keeps indices of sources and may have its tokenizer; None for a
        run without one.
      beat: hears how a long build of an index goes on.

    Raises:
      UserError: if anything in the config cannot be used.
    """
    mesh = sharding.make_mesh(config.mesh.fsdp)
    sharding.check_batch("batch_size", config.batch_size, mesh)
    sharding.check_batch("score.batch_size", defenses.score_batch(config), mesh)
    _check(config, mesh)
    initial = None
    if config.init_from:
        model = config.model
        initial = pretrained.read(Path(config.init_from), model.preset, model.activation)
    exchange = sharding.exchange if jax.process_count() > 1 else None
    cache = None if folder is None else run_folder.indices(folder, beat)
    clean = run_data.training_pairs(config, cache)
    skipped = SkippedRecords(clean, config.data.max_skipped_share, exchange)
    match = surrogate.matcher(config.attack.surrogate)
    held_out, attack = attacks.planned(config, clean, cache, match)
    source = attack.poisoned(clean)
    tokenizer = _tokenizer(config, clean, folder, initial)
    steps = _steps(config, tokenizer, mesh)
    return Experiment(
        config=config,
        source=source,
        attack=attack,
        held_out=held_out,
        also_held_out=run_data.also_held_out(config, cache),
        loader=_loader(config, source, tokenizer, skipped),
        skipped=skipped,
        tokenizer=tokenizer,
        steps=steps,
        defense=_defense(config, source),
        mesh=mesh,
        initial=initial
        and pretrained.fitted(initial, steps.model.config, f"init_from={config.init_from}"),
    )


def _check(config: ConfigDict, mesh: Mesh) -> None:
    """Checks what no other part checks by itself."""
    if config.epochs < (0 if config.init_from else 1):
        raise UserError(f"epochs={config.epochs}: at least 1 is needed, or 0 with init_from")
    if config.seed < 0:
        raise UserError(f"seed={config.seed}: it must not be negative")
    if config.model.dtype not in DTYPES:
        raise unknown("model.dtype", config.model.dtype, DTYPES)
    if config.model.remat not in REMAT:
        raise unknown("model.remat", config.model.remat, REMAT)
    if defenses.score_kind(config) not in SCORES:
        raise unknown("score", defenses.score_kind(config), SCORES)
    if defenses.score_kind(config) != "cosine" and defenses.score_batch(config) < 2:
        raise UserError("score.batch_size=1: this score needs other pairs beside a pair's own")
    if config.score.view not in SCORE_VIEWS:
        raise unknown("score.view", config.score.view, SCORE_VIEWS)
    parts = config.micro_batches
    if parts < 1 or config.batch_size % (parts * mesh.size):
        raise UserError(
            f"micro_batches={parts}: batch_size={config.batch_size} does not divide by it on "
            f"{mesh.size} device(s)"
        )
    if config.score.reuse and config.score.view != "plain":
        raise UserError("score.reuse=True needs score.view=plain, as pairs train")
    if config.unimodal.bank_size % config.batch_size or config.unimodal.bank_size < 1:
        raise UserError(
            f"unimodal.bank_size={config.unimodal.bank_size} is not a multiple of "
            f"batch_size={config.batch_size}"
        )
    _check_chunks(config, mesh)


def _check_chunks(config: ConfigDict, mesh: Mesh) -> None:
    chunk, held = config.loss_chunk, config.unimodal.bank_size
    if config.unimodal.split_banks:
        held //= mesh.size
    if chunk < 0 or (chunk and (config.batch_size % chunk or held % min(chunk, held))):
        raise UserError(
            f"loss_chunk={chunk} does not divide batch_size and what a device holds of "
            "unimodal.bank_size"
        )


def _defense(config: ConfigDict, source: Source) -> defenses.Defense:
    left_out = left_outs.read(config.data.leave_out, source)
    made = defenses.create(config)
    return Without(made, left_out) if len(left_out) else made


def _loader(
    config: ConfigDict,
    source: ImageSource,
    tokenizer: tokenizers.Tokenizer,
    skipped: SkippedRecords,
) -> Loader:
    data, side = config.data, config.model.image_size
    cache_bytes = int(data.cache_gib * 2**30)
    workers = cores.workers(data.workers, in_memory=3 * side**2 * len(source) <= cache_bytes)
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
    )


def _tokenizer(
    config: ConfigDict, source: Source, folder: Path | None, initial: Pretrained | None
) -> tokenizers.Tokenizer:
    """The run's own if it has one, else that of the model it starts from, else as asked for."""
    data = config.data
    if folder is not None and (folder / "tokenizer.json").exists():
        return tokenizers.load(folder / "tokenizer.json", data.context)
    if initial is not None:
        return initial.tokenizer
    trained = data.tokenizer == "train" or (data.tokenizer == "auto" and data.source == "scenes")
    if trained:
        return tokenizers.train(source.captions, data.vocab_size, data.context)
    name = tokenizers.CLIP_TOKENIZER if data.tokenizer == "auto" else data.tokenizer
    return tokenizers.pretrained(name, data.context)


def _steps(config: ConfigDict, tokenizer: tokenizers.Tokenizer, mesh: Mesh) -> Steps:
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
        clip.CLIP(shape, DTYPES[config.model.dtype], config.model.remat, config.model.scan),
        make_optimizer(optimizer.b1, optimizer.b2, optimizer.weight_decay),
        Settings(
            ImageAugmentation(**config.augment),
            config.cleanclip.unimodal_weight,
            chunks if config.loss_chunk or split_banks else None,
        ),
        mesh,
        config.seed,
        config.micro_batches,
        defenses.score_kind(config) if config.score.reuse else "",
    )
