"""CLIP pre-training that stays safe when the scraped data is poisoned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safeclip_jax.inference.model import Model

__all__ = ["load"]


def load(path: str | Path, preset: str = "", activation: str = "") -> Model:
    """Loads a trained model: a run's folder, or a model of ours, Hugging Face's or open_clip's.

    Args:
      path: of the folder, or of a file of tensors in open_clip's layout.
      preset, activation: for such a file, which says neither.

    Raises:
      UserError: if there is no model, or it is not like ours.
    """
    from safeclip_jax.inference.model import Model
    from safeclip_jax.weights import pretrained

    return Model(pretrained.read(Path(path), preset, activation))
