"""The text tower: a causal transformer read at the end-of-text token, as in CLIP."""

from __future__ import annotations

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from safeclip_jax.models.transformer import Transformer, layer_norm

_LENGTH_STEP = 16


@dataclass(frozen=True)
class TextConfig:
    """Shape of the text tower.

    Attributes:
      context: tokens in a caption, start and end included.
      vocab_size, end_id: of the tokenizer.
      width, depth, heads: of the transformer.
      mlp_ratio: hidden width of the perceptrons over the width.
      activation: a name in `transformer.ACTIVATIONS`.
    """

    context: int = 77
    vocab_size: int = 49408
    end_id: int = 49407
    width: int = 512
    depth: int = 12
    heads: int = 8
    mlp_ratio: float = 4.0
    activation: str = "gelu"

    @property
    def lengths(self) -> tuple[int, ...]:
        """Numbers of tokens for which the tower is compiled: multiples of 16, and the context."""
        return (*range(_LENGTH_STEP, self.context, _LENGTH_STEP), self.context)

    def length(self, tokens: np.ndarray) -> int:
        """The least of `lengths` that keeps every end token of int [..., context].

        The tower is causal and read at the end token, so later tokens change nothing.
        """
        needed = 1 + int(np.argmax(tokens == self.end_id, axis=-1).max())
        return next(length for length in self.lengths if length >= needed)


class TextTransformer(nn.Module):
    """Token ids int [B, L], L of at most the context, to features [B, width]."""

    config: TextConfig
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"
    scan: bool = False

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        c = self.config
        # In float32: a start token's gradient is a sum over all captions.
        embed = nn.Embed(
            c.vocab_size, c.width, embedding_init=nn.initializers.normal(0.02), name="tokens"
        )
        positions = self.param("positions", nn.initializers.normal(0.01), (c.context, c.width))
        x = (embed(tokens) + positions[: tokens.shape[1]]).astype(self.dtype)
        x = Transformer(
            c.depth,
            c.heads,
            c.mlp_ratio,
            True,
            c.activation,
            self.dtype,
            self.remat,
            self.scan,
            name="transformer",
        )(x)
        x = layer_norm(self.dtype, "norm_out")(x)
        # The first end token, so that padding with the end token, as Hugging Face does,
        # and padding with 0, as OpenAI does, read the same place.
        end = jnp.argmax(tokens == c.end_id, axis=1)
        return jnp.take_along_axis(x, end[:, None, None], axis=1)[:, 0]
