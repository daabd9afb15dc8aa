"""CLIP: two towers, two projections and a logit scale, with presets by name."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from safeclip_jax.errors import UserError, unknown
from safeclip_jax.models.linear import Linear
from safeclip_jax.models.resnet import ResNetConfig
from safeclip_jax.models.text import TextConfig, TextTransformer
from safeclip_jax.models.tower import ImageTower
from safeclip_jax.models.transformer import ACTIVATIONS
from safeclip_jax.models.vit import ViTConfig

Variables = Any  # Flax collections: params and, for ResNets, batch_stats
MAX_LOG_SCALE = math.log(100.0)
_INITIAL_LOG_SCALE = math.log(1 / 0.07)


@dataclass(frozen=True)
class CLIPConfig:
    """Shape of the model, and what its images must look like.

    Attributes:
      image, text: the towers.
      embedding: width of the shared space.
      mean, std: of each colour channel in [0, 1]; the default is CLIP's (Radford et al., 2021).
    """

    image: ImageTower
    text: TextConfig
    embedding: int = 512
    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)

    def normalize(self, images: jax.Array) -> jax.Array:
        """Images float [B, S, S, 3] in [0, 1] to the model's input."""
        return (images - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)


_TINY_IMAGE = ViTConfig(
    image_size=32,
    patch=8,
    width=64,
    depth=2,
    heads=2,
    stem=(24, 48, 64),
    pool="mean",
    activation="quick_gelu",
)
_TINY_TEXT = TextConfig(context=20, width=64, depth=2, heads=2, activation="quick_gelu")


def _vit(
    patch: int, width: int, depth: int, heads: int, text: TextConfig, embedding: int
) -> CLIPConfig:
    image = ViTConfig(patch=patch, width=width, depth=depth, heads=heads)
    return CLIPConfig(image, text, embedding)


PRESETS = {
    "nano": CLIPConfig(replace(_TINY_IMAGE, depth=1), replace(_TINY_TEXT, depth=1), embedding=64),
    "tiny": CLIPConfig(_TINY_IMAGE, _TINY_TEXT, embedding=64),
    # Small ones that Hugging Face and open_clip can hold: without a stem, with a class token.
    "vit_nano8": CLIPConfig(
        replace(_TINY_IMAGE, stem=(), pool="class_token"), _TINY_TEXT, embedding=64
    ),
    "rn_nano": CLIPConfig(ResNetConfig(32, (1, 1, 1, 1), 16, 8), _TINY_TEXT, embedding=64),
    "vit_ti16": _vit(16, 192, 12, 3, TextConfig(width=192, heads=3), 192),
    "vit_s32": _vit(32, 384, 12, 6, TextConfig(width=384, heads=6), 384),
    "vit_s16": _vit(16, 384, 12, 6, TextConfig(width=384, heads=6), 384),
    "vit_b32": _vit(32, 768, 12, 12, TextConfig(), 512),
    "vit_b16": _vit(16, 768, 12, 12, TextConfig(), 512),
    "vit_l14": _vit(14, 1024, 24, 16, TextConfig(width=768, heads=12), 768),
    "vit_h14": _vit(14, 1280, 32, 16, TextConfig(width=1024, depth=24, heads=16), 1024),
    "rn50": CLIPConfig(ResNetConfig(), TextConfig(), 1024),
    "rn101": CLIPConfig(ResNetConfig(blocks=(3, 4, 23, 3)), TextConfig(), 512),
    "rn50x4": CLIPConfig(
        ResNetConfig(288, (4, 6, 10, 6), 80, 40), TextConfig(width=640, heads=10), 640
    ),
}


def configure(
    preset: str,
    *,
    image_size: int,
    context: int,
    vocab_size: int,
    end_id: int,
    activation: str | None = None,
    pool: str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> CLIPConfig:
    """Returns a preset fitted to the data.

    Args:
      preset: a name in `PRESETS`.
      image_size: side of the images in pixels, a multiple of the preset's patch.
      context: tokens in a caption.
      vocab_size, end_id: of the tokenizer.
      activation, pool, mean, std: replace the preset's own where given. A ResNet's image
        tower has ReLUs and attention pooling, whatever they say.

    Raises:
      UserError: if a name is not known or the sizes do not fit.
    """
    if preset not in PRESETS:
        raise unknown("model.preset", preset, PRESETS)
    base = PRESETS[preset]
    stride = base.image.stride
    if image_size < stride or image_size % stride:
        raise UserError(
            f"model.image_size={image_size} is not a multiple of {preset}'s "
            f"patch of {stride} pixels"
        )
    activation = activation or base.text.activation
    if activation not in ACTIVATIONS:
        raise unknown("model.activation", activation, ACTIVATIONS)
    text = replace(
        base.text, context=context, vocab_size=vocab_size, end_id=end_id, activation=activation
    )
    return replace(
        base,
        image=base.image.fitted(image_size, activation, pool),
        text=text,
        mean=_channels("model.mean", mean or base.mean),
        std=_channels("model.std", std or base.std),
    )


def _channels(key: str, values: tuple[float, ...]) -> tuple[float, ...]:
    if len(values) != 3 or (key == "model.std" and min(values) <= 0):
        raise UserError(f"{key}={tuple(values)}: one number for each of red, green and blue")
    return tuple(float(value) for value in values)


class CLIP(nn.Module):
    """Two towers into one space of unit vectors.

    Attributes:
      config: shapes.
      dtype: of the computation; parameters, embeddings and the logit scale are float32.
      remat: what the backward pass computes again, see `remat.again`.
      scan: whether a transformer compiles one block for all of them.
    """

    config: CLIPConfig
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"
    scan: bool = False

    def setup(self) -> None:
        c = self.config
        self.image = c.image.build(self.dtype, self.remat, self.scan)
        self.text = TextTransformer(c.text, self.dtype, self.remat, self.scan)
        self.image_projection = self._projection(c.image.features, c.image.projection_bias)
        self.text_projection = self._projection(c.text.width, False)
        self.log_scale = self.param(
            "log_scale", nn.initializers.constant(_INITIAL_LOG_SCALE), (), jnp.float32
        )

    def _projection(self, width: int, bias: bool) -> Linear:
        small = nn.initializers.normal(width**-0.5)
        return Linear(self.config.embedding, self.dtype, use_bias=bias, kernel_init=small)

    def __call__(
        self, images: jax.Array, tokens: jax.Array, train: bool = False
    ) -> tuple[jax.Array, ...]:
        """Returns image embeddings [B, D], text embeddings [B, D] and the logit scale.

        With `train`, batch norms use the batch's statistics and update `batch_stats`.
        """
        return self.embed_images(images, train), self.embed_texts(tokens), self.logit_scale()

    def embed_images(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Normalised images float [B, S, S, 3] to unit vectors float32 [B, D]."""
        return _unit(self.image_projection(self.image(images, train)))

    def embed_texts(self, tokens: jax.Array) -> jax.Array:
        """Token ids int [B, L] to unit vectors float32 [B, D]."""
        return _unit(self.text_projection(self.text(tokens)))

    def logit_scale(self) -> jax.Array:
        """exp(log s), with log s held in [0, ln 100]."""
        return jnp.exp(jnp.clip(self.log_scale, 0.0, MAX_LOG_SCALE))


def _unit(x: jax.Array) -> jax.Array:
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-12)
