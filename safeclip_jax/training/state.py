"""All that training changes, and how the optimiser changes it."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import optax

from safeclip_jax.models.clip import Variables
from safeclip_jax.objectives.objective import State

Params = Any
ANCHOR = "anchor"  # of what objectives keep: the variables that training began with


class TrainState(flax.struct.PyTreeNode):
    """All that training changes.

    Attributes:
      params: of the model, float32: the collection `params`.
      batch_stats: its other collections: running statistics of batch norms, if it has any.
      opt_state: of the optimiser.
      kept: what objectives keep between steps, by name.
      remembered: scores of pairs from train steps, see `score_memory`; None if steps remember
        none.
      skipped: steps without an update because loss or gradient was not finite, int32.
      skipped_in_a_row: of those, the ones since the last update, int32.
    """

    params: Params
    batch_stats: Variables
    opt_state: optax.OptState
    kept: State
    remembered: jax.Array | None
    skipped: jax.Array
    skipped_in_a_row: jax.Array

    @property
    def variables(self) -> Variables:
        """All collections of the model."""
        return {**self.params, **self.batch_stats}

    def starting_from(self, variables: Variables) -> TrainState:
        """The state with these arrays, from the host, in place of the model's own."""

        def place() -> Variables:
            return jax.tree.map(
                lambda x, y: jax.device_put(x, y.sharding), variables, self.variables
            )

        kept = self.kept | {ANCHOR: place()} if ANCHOR in self.kept else self.kept
        placed = place()
        return self.replace(params={"params": placed.pop("params")}, batch_stats=placed, kept=kept)


def adamw(b1: float, b2: float, weight_decay: float) -> optax.GradientTransformation:
    """AdamW up to the learning rate, which is an argument of the step; decays matrices only."""

    def is_matrix(params: Params) -> Params:
        return jax.tree.map_with_path(
            lambda path, x: x.ndim > 1 and "bias" not in str(path), params
        )

    return optax.chain(
        optax.scale_by_adam(b1=b1, b2=b2),
        optax.add_decayed_weights(weight_decay, mask=is_matrix),
    )
