"""Our own files of a model: `model.json`, `model.safetensors` and `tokenizer.json`.

The tensors bear the names of our arrays, so every model that we can train fits.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import jax

from safeclip_jax.errors import UserError
from safeclip_jax.models.clip import CLIPConfig
from safeclip_jax.models.resnet import ResNetConfig
from safeclip_jax.models.text import TextConfig
from safeclip_jax.models.vit import ViTConfig
from safeclip_jax.weights.links import Link

CONFIG, WEIGHTS = "model.json", "model.safetensors"
FORMAT = 1
_TOWERS: dict[str, Any] = {"vit": ViTConfig, "resnet": ResNetConfig}


def links_of(shapes: Any) -> list[Link]:
    """Each array under its own name."""
    paths = [tuple(e.key for e in path) for path, _ in jax.tree.leaves_with_path(shapes)]
    return [Link(path, "/".join(path)) for path in paths]


def describe(config: CLIPConfig) -> dict[str, Any]:
    """The content of `model.json`."""
    kind = next(name for name, shape in _TOWERS.items() if isinstance(config.image, shape))
    return {"format": FORMAT, "image_tower": kind, **asdict(config)}


def understand(content: dict[str, Any], where: str) -> CLIPConfig:
    """The model that a `model.json` describes; `UserError` if it is none."""
    found = content.get("format")
    if found != FORMAT:
        raise UserError(f"{where} has format {found!r}, this program reads {FORMAT}")
    try:
        image = _TOWERS[content["image_tower"]](**_tuples(content["image"]))
        text = TextConfig(**content["text"])
        rest = {name: content[name] for name in ("embedding", "mean", "std")}
        return CLIPConfig(image, text, **_tuples(rest))
    except (KeyError, TypeError) as error:
        raise UserError(f"{where} is no model of ours: {error!r}") from None


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
