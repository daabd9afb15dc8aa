"""The jitted, sharded functions: one train step an objective, and the score."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from safeclip_jax.data.augment_image import augment, pixels
from safeclip_jax.defenses.scores import Score
from safeclip_jax.distributed import sharding
from safeclip_jax.distributed.sharding import batch_sharding, replicated
from safeclip_jax.inference.embedder import Embedder
from safeclip_jax.models.clip import CLIP, Variables
from safeclip_jax.objectives.objective import (
    Batch,
    Embedded,
    Objective,
    Settings,
    State,
    View,
)
from safeclip_jax.training import score_memory
from safeclip_jax.training.state import ANCHOR, Params, TrainState

Metrics = dict[str, jax.Array]
Kind = tuple[Objective, bool]  # objective, augmented
Pairs = tuple[Batch, jax.Array]  # a batch and a key for each pair of it
ViewsOf = Callable[[Batch, jax.Array], list[View]]


def _key_of_each(key: jax.Array, index: jax.Array) -> jax.Array:
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)


@dataclass(frozen=True)
class Steps:
    """Compiled functions of one run.

    Attributes:
      model: the module.
      optimizer: see `state.adamw`.
      settings: of the objectives.
      mesh: of devices.
      seed: of the run.
      micro_batches: parts in which a batch is embedded, one after the other; the loss is
        that of the whole batch. Batch norms take their statistics over a part.
      remembers: the score that a train step notes of each pair that it shows the model with its
        own caption; None for none.
    """

    model: CLIP
    optimizer: optax.GradientTransformation
    settings: Settings
    mesh: Mesh
    seed: int
    micro_batches: int = 1
    remembers: Score | None = None

    def init(
        self, batch_size: int, pairs: int = 0, objectives: Iterable[Objective] = ()
    ) -> TrainState:
        """Initial parameters and moments, and what the objectives keep.

        Args:
          batch_size: pairs in a global batch.
          pairs: of the data; needed only if scores are remembered.
          objectives: that the run trains.
        """
        image, text = self.model.config.image, self.model.config.text
        objectives, width = tuple(objectives), self.model.config.embedding

        def init(key: jax.Array) -> TrainState:
            images = jnp.zeros((1, image.image_size, image.image_size, 3))
            tokens = jnp.zeros((1, text.context), jnp.int32)
            variables = self.model.init(jax.random.split(key, 3)[0], images, tokens)
            params = {"params": variables.pop("params")}
            kept: State = {}
            for objective in objectives:
                kept |= objective.initial(key, batch_size, width, self.settings)
            if any(objective.anchored for objective in objectives):
                kept[ANCHOR] = jax.tree.map(jnp.copy, {**params, **variables})
            return TrainState(
                params=params,
                batch_stats=variables,
                opt_state=self.optimizer.init(params),
                kept=kept,
                remembered=score_memory.empty(pairs) if self.remembers else None,
                skipped=jnp.zeros((), jnp.int32),
                skipped_in_a_row=jnp.zeros((), jnp.int32),
            )

        key = jax.random.key(self.seed)
        return jax.jit(init, out_shardings=self._layout(jax.eval_shape(init, key)))(key)

    def train(self, kind: Kind, length: int | None = None) -> jax.stages.Wrapped:
        """Returns the jitted train step of an objective; the state is donated.

        The step takes (state, batch, learning rate, place), where the batch holds `image`
        uint8 [B, S, S, 3], `tokens` int32 [B, views, L] and `index` int32 [B]; place is int32
        (epoch, stage). It returns the new state and `loss`, `logit_scale`, `grad_norm` and
        `skipped_in_a_row`.

        Args:
          kind: objective, and whether the stage augments.
          length: tokens of a caption that are looked at, see `TextConfig.length`; None for all.
        """
        objective, augmented = kind
        gradient = self._whole_batch if self.micro_batches == 1 else self._in_micro_batches
        views_of = partial(objective.views_of, augmented=augmented, settings=self.settings)

        def step(
            state: TrainState, batch: Batch, learning_rate: jax.Array, place: jax.Array
        ) -> tuple[TrainState, Metrics]:
            batch = batch | {"tokens": batch["tokens"][:, :, :length]}
            pairs = batch, self._keys(place, batch["index"])
            loss, grads, new_state = gradient(objective, views_of, state, pairs)
            grad_norm = optax.tree.norm(grads)
            finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
            state = self._updated(finite, state, new_state, grads, learning_rate)
            state = jax.lax.with_sharding_constraint(state, self._layout(state))
            metrics = {
                "loss": loss,
                "logit_scale": self._scale(state.params),
                "grad_norm": grad_norm,
                "skipped_in_a_row": state.skipped_in_a_row,
            }
            return state, jax.lax.with_sharding_constraint(metrics, replicated(self.mesh))

        whole, split = replicated(self.mesh), batch_sharding(self.mesh)
        return jax.jit(step, in_shardings=(None, split, whole, whole), donate_argnums=0)

    def lower_train(
        self, kind: Kind, state: TrainState, batch_size: int, length: int | None = None
    ) -> jax.stages.Lowered:
        """Traces a train step for global batches of one size; `.compile()` is left to do."""
        size, context = self.model.config.image.image_size, self.model.config.text.context
        objective, augmented = kind
        array, whole = jax.ShapeDtypeStruct, self.settings.augmentation.picture_size
        batch = {
            "index": array((batch_size,), np.int32),
            "tokens": array((batch_size, objective.views, context), np.int32),
        }
        if whole and any(objective.caption_views(augmented)):
            size, batch["aspect"] = whole, array((batch_size,), np.float32)
        batch["image"] = array((batch_size, size, size, 3), np.uint8)
        rate, place = array((), np.float32), array((2,), np.int32)
        return self.train(kind, length).lower(state, batch, rate, place)

    @cached_property
    def embedder(self) -> Embedder:
        """Embeds images and texts."""
        return Embedder(self.model, self.mesh)

    def score(self, score: Score, variables: Variables, batch: Batch) -> jax.Array:
        """Scores pairs, forward only: float32 [B].

        Args:
          score: which.
          variables: of the model.
          batch: `image` uint8 [B, S, S, 3], `tokens` int32 [B, L] and `valid` bool [B]; a pair
            that is not valid scores NaN.
        """
        image = self.embedder.on_images(variables, batch["image"])
        text = self.embedder.on_texts(variables, batch["tokens"])
        return self._pair_score(variables, image, text, batch["valid"], score)

    @cached_property
    def augmented(self) -> jax.stages.Wrapped:
        """The jitted augmentation of a batch for `score`: its images, for an int32 (epoch, stage).

        The batch holds `image`, `index` and perhaps `aspect`, as for `train`; the result is uint8
        [B, S, S, 3].
        """

        def view(batch: Batch, place: jax.Array) -> jax.Array:
            keys, size = self._keys(place, batch["index"]), self.settings.image_size
            changed = augment(
                pixels(batch["image"]), keys, self.settings.augmentation, size, batch.get("aspect")
            )
            return jnp.rint(changed * 255).astype(jnp.uint8)

        split = batch_sharding(self.mesh)
        return jax.jit(view, in_shardings=(split, replicated(self.mesh)), out_shardings=split)

    @cached_property
    def _pair_score(self) -> jax.stages.Wrapped:
        def score(
            variables: Variables, image: jax.Array, text: jax.Array, valid: jax.Array, score: Score
        ) -> jax.Array:
            found = score.of_pairs(image, text, self._scale(variables), None)
            return jnp.where(valid, found, jnp.nan)

        split = batch_sharding(self.mesh)
        return jax.jit(
            score, in_shardings=(None, split, split, split), out_shardings=split, static_argnums=4
        )

    def _keys(self, place: jax.Array, index: jax.Array) -> jax.Array:
        """One key a pair from (seed, epoch, stage, pair index)."""
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(self.seed), place[0]), place[1])
        return _key_of_each(key, index)

    def _whole_batch(
        self, objective: Objective, views_of: ViewsOf, state: TrainState, pairs: Pairs
    ) -> tuple[jax.Array, Params, TrainState]:
        """Loss, its gradient, and the state with new banks and batch statistics."""
        views = views_of(*pairs)

        def loss_fn(params: Params) -> tuple[jax.Array, TrainState]:
            fixed, trained = views[: objective.fixed], views[objective.fixed :]
            before, changed = self._embed(jax.lax.stop_gradient(params), state, fixed)
            after, changed = self._embed(params, changed, trained)
            embedded = [*before, *after, *self._anchored(objective, state, views)]
            return self._loss(objective, embedded, self._scale(params), changed, pairs)

        (loss, state), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        return loss, grads, state

    def _in_micro_batches(
        self, objective: Objective, views_of: ViewsOf, state: TrainState, pairs: Pairs
    ) -> tuple[jax.Array, Params, TrainState]:
        """As `_whole_batch`, embedding a part at a time: GradCache (Gao et al., 2021).

        First all parts are embedded without gradient, and the loss of the whole batch has its
        gradient taken in the embeddings; then each part is embedded once more and passes its
        share of that gradient on to the parameters.
        """
        split = partial(sharding.in_parts, parts=self.micro_batches)
        parts = jax.tree.map(split, pairs)
        first = objective.fixed

        def embed(batch_stats: Variables, part: Pairs) -> tuple[Variables, Any]:
            changed, views = state.replace(batch_stats=batch_stats), views_of(*part)
            embedded, changed = self._embed(state.params, changed, views)
            return changed.batch_stats, (embedded, self._anchored(objective, state, views))

        batch_stats, embedded = jax.lax.scan(embed, state.batch_stats, parts)
        embedded, anchored = jax.tree.map(sharding.of_parts, embedded)
        embedded_state = state.replace(batch_stats=batch_stats)
        fixed, trained, scale = embedded[:first], embedded[first:], self._scale(state.params)

        def loss_fn(trained: Any, scale: jax.Array) -> tuple[jax.Array, TrainState]:
            whole = [*fixed, *trained, *anchored]
            return self._loss(objective, whole, scale, embedded_state, pairs)

        (loss, new_state), (slopes, scale_slope) = jax.value_and_grad(
            loss_fn, argnums=(0, 1), has_aux=True
        )(trained, scale)

        def pass_on(grads: Params, part: Any) -> tuple[Params, None]:
            pairs, slopes = part
            views = views_of(*pairs)[first:]

            def share(params: Params) -> jax.Array:
                embedded, _ = self._embed(params, state, views)
                products = jax.tree.map(lambda x, y: jnp.sum(x * y), embedded, slopes)
                of_scale = scale_slope * self._scale(params) / self.micro_batches
                return sum(jax.tree.leaves(products), of_scale)

            return jax.tree.map(jnp.add, grads, jax.grad(share)(state.params)), None

        zeros = jax.tree.map(jnp.zeros_like, state.params)
        grads, _ = jax.lax.scan(pass_on, zeros, (parts, jax.tree.map(split, slopes)))
        return loss, grads, new_state

    def _embed(
        self, params: Params, state: TrainState, views: Sequence[View]
    ) -> tuple[list[Embedded], TrainState]:
        """Embeddings of each view; the state with new batch statistics."""
        made = []
        for view in views:
            images = self.model.config.normalize(view.images)
            variables = {**params, **state.batch_stats}
            (image, text, _), batch_stats = self.model.apply(
                variables, images, view.tokens, train=True, mutable=["batch_stats"]
            )
            state = state.replace(batch_stats=jax.lax.stop_gradient(batch_stats))
            made.append((image, text))
        return made, state

    def _anchored(
        self, objective: Objective, state: TrainState, views: Sequence[View]
    ) -> list[Embedded]:
        """The first view as the model saw it that training began with, if the loss looks at it."""
        if not objective.anchored:
            return []
        images = self.model.config.normalize(views[0].images)
        found: Any = self.model.apply(state.kept[ANCHOR], images, views[0].tokens)
        return [(found[0], found[1])]

    def _scale(self, params: Params) -> jax.Array:
        scale: Any = self.model.apply(params, method="logit_scale")
        return scale

    def _loss(
        self,
        objective: Objective,
        embedded: Sequence[Embedded],
        scale: jax.Array,
        state: TrainState,
        pairs: Pairs,
    ) -> tuple[jax.Array, TrainState]:
        """The loss of embedded views, and the state with what is kept of them."""
        loss, kept = objective.loss(embedded, scale, state.kept, self.settings)
        state = state.replace(kept=kept)
        if self.remembers is not None and objective.plain:
            image, text = embedded[0]
            scores = self.remembers.of_pairs(image, text, scale, self.settings.chunks)
            place = pairs[0]["index"]
            assert state.remembered is not None
            noted = score_memory.note(state.remembered, place, scores, self.mesh)
            state = state.replace(remembered=noted)
        return loss, jax.lax.stop_gradient(state)

    def _layout(self, state: Any) -> Any:
        chunks = self.settings.chunks
        return sharding.of_state(state, self.mesh, chunks is not None and chunks.split_banks)

    def _updated(
        self,
        finite: jax.Array,
        old: TrainState,
        new: TrainState,
        grads: Params,
        learning_rate: jax.Array,
    ) -> TrainState:
        """`new` with updated parameters, or `old` and a count where a number is not finite.

        A branch lets a CPU update the arrays in place; on other devices it would wait for the host.
        """

        def update() -> TrainState:
            updates, opt_state = self.optimizer.update(grads, new.opt_state, new.params)
            updates = jax.tree.map(lambda u: -learning_rate * u, updates)
            return new.replace(
                params=optax.apply_updates(new.params, updates),
                opt_state=opt_state,
                skipped_in_a_row=jnp.zeros((), jnp.int32),
            )

        def skip() -> TrainState:
            return old.replace(skipped=old.skipped + 1, skipped_in_a_row=old.skipped_in_a_row + 1)

        if self.mesh.devices.flat[0].platform == "cpu":
            return jax.lax.cond(finite, update, skip)
        return jax.tree.map(lambda a, b: jnp.where(finite, a, b), update(), skip())
