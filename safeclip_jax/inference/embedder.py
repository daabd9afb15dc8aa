"""Images and texts to unit vectors: jitted, sharded, in equal batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from safeclip_jax.data.augment_image import pixels
from safeclip_jax.distributed import sharding
from safeclip_jax.models.clip import CLIP, Variables

_AT_ONCE_ON_A_CPU = 256  # rows: more of them no longer fit into its caches


@dataclass(frozen=True)
class Embedder:
    """Forward passes of a model over the devices of a mesh, a part of a large batch at a time."""

    model: CLIP
    mesh: Mesh

    @cached_property
    def on_images(self) -> jax.stages.Wrapped:
        """The jitted image embedding: variables, uint8 [B, S, S, 3] to float32 [B, D]."""

        def embed(variables: Variables, images: jax.Array) -> Any:
            inputs = self.model.config.normalize(pixels(images))
            return self.model.apply(variables, inputs, method="embed_images")

        return self._jit_rows(embed)

    @cached_property
    def on_texts(self) -> jax.stages.Wrapped:
        """The jitted text embedding: variables, int32 [B, L] to float32 [B, D].

        L may be less than the context, see `TextConfig.length`.
        """

        def embed(variables: Variables, tokens: jax.Array) -> Any:
            return self.model.apply(variables, tokens, method="embed_texts")

        return self._jit_rows(embed)

    def images(self, variables: Variables, images: np.ndarray, batch: int) -> np.ndarray:
        """Embeds uint8 [n, S, S, 3] to float32 [n, D].

        Args:
          variables: of the model.
          images: the same on every host.
          batch: images at a time, all devices together; one compiled function serves all.
        """
        return self._in_batches(self.on_images, variables, images, batch)

    def texts(self, variables: Variables, tokens: np.ndarray, batch: int) -> np.ndarray:
        """Embeds int32 [n, L] to float32 [n, D]; see `images`."""
        if len(tokens):
            tokens = tokens[:, : self.model.config.text.length(tokens)]
        return self._in_batches(self.on_texts, variables, tokens, batch)

    def _in_batches(
        self, embed: jax.stages.Wrapped, variables: Variables, inputs: np.ndarray, batch: int
    ) -> np.ndarray:
        parts = [
            embed(variables, rows["inputs"])
            for rows in sharding.row_batches({"inputs": inputs}, batch, self.mesh)
        ]
        if not parts:
            return np.zeros((0, self.model.config.embedding), np.float32)
        return np.concatenate([sharding.to_host(part) for part in parts])[: len(inputs)]

    def _jit_rows(self, function: Callable[[Variables, jax.Array], Any]) -> jax.stages.Wrapped:
        on_cpu = self.mesh.devices.flat[0].platform == "cpu"

        def embed(variables: Variables, rows: jax.Array) -> Any:
            parts, rest = divmod(len(rows), _AT_ONCE_ON_A_CPU * self.mesh.size)
            if not on_cpu or rest or parts == 1:
                return function(variables, rows)
            embedded = jax.lax.map(partial(function, variables), sharding.in_parts(rows, parts))
            return sharding.of_parts(embedded)

        split = sharding.batch_sharding(self.mesh)
        return jax.jit(embed, in_shardings=(None, split), out_shardings=split)
