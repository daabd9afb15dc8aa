"""What the backward pass computes again instead of keeping it: less memory for more time."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax

PRODUCT = "product"  # the name of what a matrix product or a convolution gives
POLICIES: dict[str, Any] = {
    "products": jax.checkpoint_policies.save_only_these_names(PRODUCT),
    "blocks": None,
}


def again(block: type[nn.Module], remat: str) -> type[nn.Module]:
    """The block with its inside computed again in the backward pass.

    Args:
      block: of a tower.
      remat: `none` keeps all; `products` keeps what matrix products and convolutions give, and
        computes norms, activations and softmaxes again; `blocks` keeps the block's input alone.
    """
    return block if remat == "none" else nn.remat(block, policy=POLICIES[remat])
