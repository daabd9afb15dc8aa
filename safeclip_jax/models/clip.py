"""CLIP: two towers, two projections and a logit scale, with presets by name."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import flax.linen as nn
import jax
import jax.numpy as jnp

from safeclip_jax.errors import UserError, unknown
from safeclip_jax.models.text import TextConfig, TextTransformer
from safeclip_jax.models.transformer import ACTIVATIONS
from safeclip_jax.models.vit import ViT, ViTConfig

MAX_LOG_SCALE = math.log(100.0)
_INITIAL_LOG_SCALE = math.log(1 / 0.07)


@dataclass(frozen=True)
class CLIPConfig:
    """Shape of the model: both towers and the width of the shared space."""

    image: ViTConfig
    text: TextConfig
    embedding: int = 512


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
PRESETS = {
    "nano": CLIPConfig(replace(_TINY_IMAGE, depth=1), replace(_TINY_TEXT, depth=1), embedding=64),
    "tiny": CLIPConfig(_TINY_IMAGE, _TINY_TEXT, embedding=64),
    "vit_b32": CLIPConfig(ViTConfig(patch=32), TextConfig()),
    "vit_b16": CLIPConfig(ViTConfig(patch=16), TextConfig()),
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
) -> CLIPConfig:
    """Returns a preset fitted to the data.

    Args:
      preset: a name in `PRESETS`.
      image_size: side of the images in pixels, a multiple of the preset's patch.
      context: tokens in a caption.
      vocab_size, end_id: of the tokenizer.
      activation, pool: replace the preset's own where given.

    Raises:
      UserError: if a name is not known or the sizes do not fit.
    """
    if preset not in PRESETS:
        raise unknown("model.preset", preset, PRESETS)
    base = PRESETS[preset]
    activation = activation or base.image.activation
    pool = pool or base.image.pool
    if activation not in ACTIVATIONS:
        raise unknown("model.activation", activation, ACTIVATIONS)
    if pool not in ("class_token", "mean"):
        raise unknown("model.pool", pool, ("class_token", "mean"))
    if image_size < base.image.patch or image_size % base.image.patch:
        raise UserError(
            f"model.image_size={image_size} is not a multiple of {preset}'s "
            f"patch of {base.image.patch} pixels"
        )
    image = replace(base.image, image_size=image_size, activation=activation, pool=pool)
    text = replace(
        base.text, context=context, vocab_size=vocab_size, end_id=end_id, activation=activation
    )
    return replace(base, image=image, text=text)


class CLIP(nn.Module):
    """Two towers into one space of unit vectors.

    Attributes:
      config: shapes.
      dtype: of the computation; parameters, embeddings and the logit scale are float32.
    """

    config: CLIPConfig
    dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        c = self.config
        self.image = ViT(c.image, self.dtype)
        self.text = TextTransformer(c.text, self.dtype)
        self.image_projection = self._projection(c.image.width)
        self.text_projection = self._projection(c.text.width)
        self.log_scale = self.param(
            "log_scale", nn.initializers.constant(_INITIAL_LOG_SCALE), (), jnp.float32
        )

    def _projection(self, width: int) -> nn.Dense:
        return nn.Dense(
            self.config.embedding,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=nn.initializers.normal(width**-0.5),
        )

    def __call__(self, images: jax.Array, tokens: jax.Array) -> tuple[jax.Array, ...]:
        """Returns image embeddings [B, D], text embeddings [B, D] and the logit scale."""
        return self.embed_images(images), self.embed_texts(tokens), self.logit_scale()

    def embed_images(self, images: jax.Array) -> jax.Array:
        """Normalised images float [B, S, S, 3] to unit vectors float32 [B, D]."""
        return _unit(self.image_projection(self.image(images)))

    def embed_texts(self, tokens: jax.Array) -> jax.Array:
        """Token ids int [B, L] to unit vectors float32 [B, D]."""
        return _unit(self.text_projection(self.text(tokens)))

    def logit_scale(self) -> jax.Array:
        """exp(log s), with log s held in [0, ln 100]."""
        return jnp.exp(jnp.clip(self.log_scale, 0.0, MAX_LOG_SCALE))


def _unit(x: jax.Array) -> jax.Array:
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-12)
