"""What a model's forward pass costs, without running it."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from safeclip_jax.models import clip


class Cost(NamedTuple):
    """Parameters of a model, and operations of a pair through both towers, by XLA's analysis."""

    parameters: int
    flops: float


def cost(config: clip.CLIPConfig) -> Cost:
    module, size = clip.CLIP(config), config.image.image_size
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    tokens = jax.ShapeDtypeStruct((1, config.text.context), jnp.int32)
    variables = jax.eval_shape(module.init, jax.random.key(0), images, tokens)
    analysis = jax.jit(module.apply).lower(variables, images, tokens).cost_analysis()
    parameters = sum(int(np.prod(x.shape)) for x in jax.tree.leaves(variables["params"]))
    return Cost(parameters, float(analysis["flops"]))
