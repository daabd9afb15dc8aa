"""What is audited: pairs, the model that scores them, and what is known of the run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import safeclip_jax
from safeclip_jax.attacks import surrogate
from safeclip_jax.data.decode import Resized
from safeclip_jax.data.sources import SourceOptions, open_part
from safeclip_jax.data.sources.base import ImageSource, Source
from safeclip_jax.errors import UserError
from safeclip_jax.inference.model import Model
from safeclip_jax.report import pool_history
from safeclip_jax.report.pool_history import History
from safeclip_jax.runs import run_attack, run_data, run_folder


@dataclass(frozen=True)
class Subject:
    """Pairs and a model.

    Attributes:
      name: of the data or the run.
      spec: KIND:PATH of the data; `mix` for several sources.
      stored: the pairs as they are stored.
      pairs: the same at the model's size, poisoned if the run was.
      model: scores them.
      history: of the run; None if the model is no run's on these pairs.
      poisons: the truth where the run knows it, else None.
      columns: names of a table's columns, where it has no header.
    """

    name: str
    spec: str
    stored: Source
    pairs: ImageSource
    model: Model
    history: History | None
    poisons: np.ndarray | None
    columns: str = ""


def of_run(folder: Path) -> Subject:
    """A finished run of ours, and its training pairs.

    Raises:
      UserError: if it is none, or its data cannot be opened.
    """
    run = run_folder.read(folder)
    if run is None:
        raise UserError(f"{folder} is no run of ours")
    cache = run_folder.indices(folder)
    stored = run_data.raw_pairs(run, cache)
    pairs: ImageSource = Resized(stored, run.model.image_size)
    poisons = None
    if run.attack.rate or run.attack.count:
        match = surrogate.matcher(run.attack.surrogate)
        _, attack = run_attack.planned(run, pairs, cache, match, folder)
        pairs, poisons = attack.poisoned(pairs), attack.manifest.indices
    model = safeclip_jax.load(folder)
    past = pool_history.read(folder, len(pairs))
    spec = "mix" if run.data.mix else run.data.source
    name = "/".join(folder.resolve().parts[-3:])
    return Subject(name, spec, stored, pairs, model, past, poisons, run.data.columns)


def of_model(model: Model, spec: str, options: SourceOptions) -> Subject:
    """A trained model, whoever's, and pairs.

    Args:
      model: of `safeclip_jax.load`.
      spec: KIND:PATH of the pairs.
      options: of them; `count` takes a random choice.
    """
    stored = open_part(spec, options, at_most=True)
    pairs = Resized(stored, model.config.image.image_size)
    return Subject(spec, spec, stored, pairs, model, None, None, options.columns)
