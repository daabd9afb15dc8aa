"""Published attacks as configs: CC3M, ImageNet's validation images, and a row by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from safeclip_jax.errors import UserError
from safeclip_jax.runs import settings

# Triggers of CleanCLIP's public code, which later papers took over.
NOISE_PATCH = {
    "attack__trigger": "badnets",
    "attack__badnets__pattern": "noise",
    "attack__badnets__position": "random",
    "attack__badnets__size": 16 / 224,
}
NOISE_BLENDED = {"attack__trigger": "blended", "attack__blended__alpha": 0.2}
PIXEL_WARP = {
    "attack__trigger": "wanet",
    "attack__wanet__grid": 224,
    "attack__wanet__strength": 32 / 224,  # s = 1 at 224 pixels
}
# Poisoning of a pre-trained CLIP as BadCLIP's public code does it: 500,000 pairs, 10 epochs.
FINE_TUNED = {
    "epochs": 10,
    "batch_size": 128,
    "data__pairs": 500_000,
    "optimizer__learning_rate": 1e-6,
    "optimizer__warmup_pairs": 10_000 * 128,
}


def recipe(rows: Mapping[str, Mapping[str, Any]], row: str, **base: Any) -> ConfigDict:
    """The configuration of one published row.

    Args:
      rows: for each row's name, the keys that it changes.
      row: its name; empty for the first.
      **base: keys that all rows change.

    Raises:
      UserError: if there is no such row.
    """
    row = row or next(iter(rows))
    if row not in rows:
        raise UserError(
            f"this config has no row {row!r}: write NAME:ROW with one of {', '.join(rows)}"
        )
    c = settings.defaults()
    c.data.source = "csv:data/cc3m/train.tsv"
    c.data.image_column = "filepath"
    c.data.caption_column = "title"
    c.data.pairs = 0
    c.model.preset = "rn50"
    c.model.dtype = "bfloat16"
    c.defense = "none"
    c.evaluate.source = "folder:data/imagenet_val"  # a folder a class, by the class's name
    c.evaluate.pairs = 0
    c.evaluate.split = ""
    for changes in (base, rows[row]):
        c.update_from_flattened_dict({key.replace("__", "."): v for key, v in changes.items()})
    return c
