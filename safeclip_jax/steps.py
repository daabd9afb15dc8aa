"""The jitted, sharded functions: one train step an objective, and the score."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from safeclip_jax import losses
from safeclip_jax.data.augment_image import ImageAugmentation, augment
from safeclip_jax.embed import Embedder, Variables, pixels
from safeclip_jax.errors import unknown
from safeclip_jax.models.clip import CLIP
from safeclip_jax.sharding import batch_sharding, replicated

SCORES = ("cosine", "relative")
SCORE_VIEWS = ("plain", "augmented")
OBJECTIVES = ("clip", "unimodal", "clip_and_unimodal", "bank_matched")

Params = Any
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
Kind = tuple[str, bool]  # objective, augmented


class TrainState(flax.struct.PyTreeNode):
    """All that training changes.

    Attributes:
      params: of the model, float32: the collection `params`.
      batch_stats: its other collections: running statistics of batch norms, if it has any.
      opt_state: of the optimiser.
      image_bank, text_bank: of the unimodal losses.
      skipped: steps without an update because loss or gradient was not finite, int32.
      skipped_in_a_row: of those, the ones since the last update, int32.
    """

    params: Params
    batch_stats: Variables
    opt_state: optax.OptState
    image_bank: losses.Bank
    text_bank: losses.Bank
    skipped: jax.Array
    skipped_in_a_row: jax.Array

    @property
    def variables(self) -> Variables:
        """All collections of the model."""
        return {**self.params, **self.batch_stats}

    def starting_from(self, variables: Variables) -> TrainState:
        """The state with these arrays, from the host, in place of the model's own."""
        placed = jax.tree.map(lambda x, y: jax.device_put(x, y.sharding), variables, self.variables)
        return self.replace(params={"params": placed.pop("params")}, batch_stats=placed)


LossAndState = tuple[jax.Array, TrainState]  # the state with new banks and batch statistics


def caption_views(kind: Kind) -> tuple[bool, ...]:
    """For each caption view that a kind of step takes of a pair, whether it is augmented."""
    objective, augmented = kind
    views = {"unimodal": (True, True), "clip_and_unimodal": (augmented, True)}
    return views.get(objective, (augmented,))


def make_optimizer(b1: float, b2: float, weight_decay: float) -> optax.GradientTransformation:
    """AdamW up to the learning rate, which is an argument of the step; decays matrices only."""

    def is_matrix(params: Params) -> Params:
        return jax.tree.map_with_path(
            lambda path, x: x.ndim > 1 and "bias" not in str(path), params
        )

    return optax.chain(
        optax.scale_by_adam(b1=b1, b2=b2),
        optax.add_decayed_weights(weight_decay, mask=is_matrix),
    )


def init_state(
    model: CLIP, optimizer: optax.GradientTransformation, bank_size: int, seed: int, mesh: Mesh
) -> TrainState:
    """Initial parameters, moments and banks, replicated over the mesh."""
    image, text = model.config.image, model.config.text

    def init(key: jax.Array) -> TrainState:
        params_key, image_key, text_key = jax.random.split(key, 3)
        images = jnp.zeros((1, image.image_size, image.image_size, 3))
        variables = model.init(params_key, images, jnp.zeros((1, text.context), jnp.int32))
        params = {"params": variables.pop("params")}
        width = model.config.embedding
        return TrainState(
            params=params,
            batch_stats=variables,
            opt_state=optimizer.init(params),
            image_bank=losses.empty_bank(image_key, bank_size, width),
            text_bank=losses.empty_bank(text_key, bank_size, width),
            skipped=jnp.zeros((), jnp.int32),
            skipped_in_a_row=jnp.zeros((), jnp.int32),
        )

    return jax.jit(init, out_shardings=replicated(mesh))(jax.random.key(seed))


def _key_of_each(key: jax.Array, index: jax.Array) -> jax.Array:
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)


def _two_views(keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """From each pair's key one for each of two views of it."""
    first, second = (jax.vmap(lambda k, v=v: jax.random.fold_in(k, v))(keys) for v in (0, 1))
    return first, second


@dataclass(frozen=True)
class Steps:
    """Compiled functions of one run.

    Attributes:
      model: the module.
      optimizer: see `make_optimizer`.
      augmentation: of the image views.
      mesh: of devices.
      seed: of the run.
      unimodal_weight: λ of the objective `clip_and_unimodal`.
    """

    model: CLIP
    optimizer: optax.GradientTransformation
    augmentation: ImageAugmentation
    mesh: Mesh
    seed: int
    unimodal_weight: float = 1.0

    def train(self, objective: str, augmented: bool) -> jax.stages.Wrapped:
        """Returns the jitted train step of an objective; the state is donated.

        The step takes (state, batch, learning rate, place), where the batch holds `image`
        uint8 [B, S, S, 3], `tokens` int32 [B, views, L] and `index` int32 [B], and place
        is int32 (epoch, stage). It returns the new state and `loss`, `logit_scale` and
        `grad_norm`.
        """
        if objective not in OBJECTIVES:
            raise unknown("objective", objective, OBJECTIVES)
        loss_of = getattr(self, f"_{objective}")

        def step(
            state: TrainState, batch: Batch, learning_rate: jax.Array, place: jax.Array
        ) -> tuple[TrainState, Metrics]:
            def loss_fn(params: Params) -> LossAndState:
                return loss_of(params, state, batch, self._keys(place, batch["index"]), augmented)

            (loss, new_state), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
            grad_norm = optax.global_norm(grads)
            new_state = self._update(new_state, grads, learning_rate)
            finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
            kept = state.replace(
                skipped=state.skipped + 1, skipped_in_a_row=state.skipped_in_a_row + 1
            )
            state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), new_state, kept)
            scale = self.model.apply(state.params, method="logit_scale")
            return state, {
                "loss": loss,
                "logit_scale": scale,
                "grad_norm": grad_norm,
                "skipped_in_a_row": state.skipped_in_a_row,
            }

        whole, split = replicated(self.mesh), batch_sharding(self.mesh)
        return jax.jit(
            step,
            in_shardings=(whole, split, whole, whole),
            out_shardings=(whole, whole),
            donate_argnums=0,
        )

    def lower_train(
        self, kinds: Iterable[Kind], state: TrainState, batch_size: int
    ) -> dict[Kind, jax.stages.Lowered]:
        """Traces train steps for global batches of one size; `.compile()` is left to do."""
        size, context = self.model.config.image.image_size, self.model.config.text.context
        scalar, place = jax.ShapeDtypeStruct((), np.float32), jax.ShapeDtypeStruct((2,), np.int32)
        lowered = {}
        for kind in kinds:
            batch = {
                "index": jax.ShapeDtypeStruct((batch_size,), np.int32),
                "image": jax.ShapeDtypeStruct((batch_size, size, size, 3), np.uint8),
                "tokens": jax.ShapeDtypeStruct(
                    (batch_size, len(caption_views(kind)), context), np.int32
                ),
            }
            lowered[kind] = self.train(*kind).lower(state, batch, scalar, place)
        return lowered

    @cached_property
    def embedder(self) -> Embedder:
        """Embeds images and texts."""
        return Embedder(self.model, self.mesh)

    def score(
        self, kind: str, variables: Variables, batch: Batch, view: int | None = None
    ) -> jax.Array:
        """Scores pairs, forward only: float32 [B].

        Args:
          kind: `cosine`, the similarity of a pair's own embeddings; or `relative`, the mean
            over both directions of the log-probability of the true partner among the
            batch, −(CLIP loss) of the pair, which discounts pairs that resemble everything.
          variables: of the model.
          batch: `index` int32 [B], `image` uint8 [B, S, S, 3], `tokens` int32 [B, L] and
            `valid` bool [B]; a pair that is not valid scores NaN.
          view: number of the augmented view of the images to score, always flipped, so that a
            trigger which was learnt in its place is not in its place; None for the images as
            they are.
        """
        if view is None:
            image = self.embedder.on_images(variables, batch["image"])
        else:
            image = self._embed_view(variables, batch["image"], batch["index"], np.int32(view))
        text = self.embedder.on_texts(variables, batch["tokens"])
        return self._pair_score(variables, image, text, batch["valid"], kind)

    @cached_property
    def _embed_view(self) -> jax.stages.Wrapped:
        strength = replace(self.augmentation, flip=1.0)

        def embed(
            variables: Variables, images: jax.Array, index: jax.Array, view: jax.Array
        ) -> Any:
            keys = _key_of_each(jax.random.fold_in(jax.random.key(self.seed), view), index)
            inputs = self._normalize(augment(pixels(images), keys, strength))
            return self.model.apply(variables, inputs, method="embed_images")

        whole, split = replicated(self.mesh), batch_sharding(self.mesh)
        return jax.jit(embed, in_shardings=(whole, split, split, whole), out_shardings=split)

    @cached_property
    def _pair_score(self) -> jax.stages.Wrapped:
        def score(
            variables: Variables, image: jax.Array, text: jax.Array, valid: jax.Array, kind: str
        ) -> jax.Array:
            if kind == "cosine":
                return jnp.where(valid, jnp.sum(image * text, axis=1), jnp.nan)
            scale: Any = self.model.apply(variables, method="logit_scale")
            logits = scale * image @ text.T
            rows, columns = (jax.nn.logsumexp(logits, axis=axis) for axis in (1, 0))
            relative = jnp.diagonal(logits) - (rows + columns) / 2
            return jnp.where(valid, relative, jnp.nan)

        whole, split = replicated(self.mesh), batch_sharding(self.mesh)
        return jax.jit(
            score, in_shardings=(whole, split, split, split), out_shardings=split, static_argnums=4
        )

    def _normalize(self, images: jax.Array) -> jax.Array:
        return self.model.config.normalize(images)

    def _embed(
        self, params: Params, state: TrainState, images: jax.Array, tokens: jax.Array
    ) -> tuple[Any, TrainState]:
        """Image embeddings, text embeddings and logit scale; the state's new batch statistics.

        Images are float [B, S, S, 3] in [0, 1].
        """
        variables = {**params, **state.batch_stats}
        embedded, batch_stats = self.model.apply(
            variables, self._normalize(images), tokens, train=True, mutable=["batch_stats"]
        )
        return embedded, state.replace(batch_stats=jax.lax.stop_gradient(batch_stats))

    def _keys(self, place: jax.Array, index: jax.Array) -> jax.Array:
        """One key a pair from (seed, epoch, stage, pair index)."""
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(self.seed), place[0]), place[1])
        return _key_of_each(key, index)

    def _clip(
        self, params: Params, state: TrainState, batch: Batch, keys: jax.Array, augmented: bool
    ) -> LossAndState:
        (image, text, scale), state = self._pair(params, state, batch, keys, augmented)
        return losses.clip_loss(image, text, scale), state

    def _bank_matched(
        self, params: Params, state: TrainState, batch: Batch, keys: jax.Array, augmented: bool
    ) -> LossAndState:
        (image, text, scale), state = self._pair(params, state, batch, keys, augmented)
        loss, text_bank = losses.bank_matched_loss(image, text, state.text_bank, scale)
        return loss, state.replace(text_bank=text_bank)

    def _clip_and_unimodal(
        self, params: Params, state: TrainState, batch: Batch, keys: jax.Array, augmented: bool
    ) -> LossAndState:
        keys, view_keys = _two_views(keys)
        (image, text, scale), state = self._pair(params, state, batch, keys, augmented)
        view = augment(pixels(batch["image"]), view_keys, self.augmentation)
        (image_view, text_view, _), state = self._embed(params, state, view, batch["tokens"][:, 1])
        loss = losses.clip_and_unimodal_loss(
            image, text, image_view, text_view, scale, self.unimodal_weight
        )
        return loss, state

    def _pair(
        self, params: Params, state: TrainState, batch: Batch, keys: jax.Array, augmented: bool
    ) -> tuple[Any, TrainState]:
        """Embeds images, augmented or not, and their first caption view."""
        images = pixels(batch["image"])
        if augmented:
            images = augment(images, keys, self.augmentation)
        return self._embed(params, state, images, batch["tokens"][:, 0])

    def _unimodal(
        self, params: Params, state: TrainState, batch: Batch, keys: jax.Array, augmented: bool
    ) -> LossAndState:
        del augmented  # both views always are
        views = []
        for view, fixed in enumerate((True, False)):  # no gradient reaches the first view
            images = augment(pixels(batch["image"]), _two_views(keys)[view], self.augmentation)
            weights = jax.lax.stop_gradient(params) if fixed else params
            embedded, state = self._embed(weights, state, images, batch["tokens"][:, view])
            views.append(embedded)
        (image_a, text_a, _), (image_b, text_b, scale) = views
        image_loss, image_bank = losses.unimodal_loss(image_a, image_b, state.image_bank, scale)
        text_loss, text_bank = losses.unimodal_loss(text_a, text_b, state.text_bank, scale)
        loss = (image_loss + text_loss) / 2
        return loss, state.replace(image_bank=image_bank, text_bank=text_bank)

    def _update(self, state: TrainState, grads: Params, learning_rate: jax.Array) -> TrainState:
        updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params)
        updates = jax.tree.map(lambda u: -learning_rate * u, updates)
        return state.replace(
            params=optax.apply_updates(state.params, updates),
            opt_state=opt_state,
            skipped_in_a_row=jnp.zeros((), jnp.int32),
        )
