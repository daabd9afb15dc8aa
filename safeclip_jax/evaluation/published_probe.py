"""Linear probe as the authors' code of SafeCLIP, CleanCLIP and RoCLIP trains it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from safeclip_jax.data.held_out import HeldOut
from safeclip_jax.evaluation.learning import features
from safeclip_jax.evaluation.share import share
from safeclip_jax.evaluation.task import EmbedImages, EmbedTexts, Metrics

EPOCHS, BATCH, RATE, DECAY = 32, 128, 0.005, 0.01
Layer = dict[str, jax.Array]


def evaluate(
    embed_images: EmbedImages, embed_texts: EmbedTexts, source: HeldOut, mesh: Mesh
) -> Metrics:
    """Accuracy of a linear layer trained by AdamW, see `task.Task`.

    32 epochs in batches of 128, a rate of 0.005 that falls to 0 by a cosine, a decay of 0.01 of the
    weights (`evaluate.py:170` of the code, which CleanCLIP's has as well). There it learns from
    image features as the model gives them, here from unit vectors.

    Returns:
      `published_probe_accuracy`.
    """
    learn, test = features(embed_images, source, "published_probe")
    if not len(test.labels):
        return {}
    layer = initial(jax.random.key(0), learn.vectors.shape[1], len(source.class_names))
    layer = train(layer, learn.vectors, learn.labels, order(len(learn.labels), seed=0))
    predictions = np.argmax(test.vectors @ layer["weight"].T + layer["bias"], axis=1)
    return {"published_probe_accuracy": share(predictions == test.labels)}


def initial(key: jax.Array, width: int, classes: int) -> Layer:
    """PyTorch's linear layer: weights and biases uniform within 1/√width of 0."""
    weight, bias = jax.random.split(key)
    bound = width**-0.5
    return {
        "weight": jax.random.uniform(weight, (classes, width), minval=-bound, maxval=bound),
        "bias": jax.random.uniform(bias, (classes,), minval=-bound, maxval=bound),
    }


def order(count: int, seed: int) -> np.ndarray:
    """Indices by step, int32 [steps, BATCH]; the last batch of an epoch is filled with −1."""
    rng, filled = np.random.default_rng(seed), -(-count // BATCH) * BATCH
    epochs = np.full((EPOCHS, filled), -1, np.int32)
    for epoch in epochs:
        epoch[:count] = rng.permutation(count)
    return epochs.reshape(-1, BATCH)


@jax.jit
def train(layer: Layer, vectors: jax.Array, labels: jax.Array, steps: jax.Array) -> Layer:
    """The layer after all steps.

    Args:
      layer: `weight` [C, D] and `bias` [C].
      vectors: float32 [n, D].
      labels: int [n].
      steps: see `order`.
    """
    rate = optax.cosine_decay_schedule(RATE, len(steps))
    optimizer = optax.adamw(rate, weight_decay=DECAY, mask={"weight": True, "bias": False})

    def loss(layer: Layer, index: jax.Array) -> jax.Array:
        logits = vectors[index] @ layer["weight"].T + layer["bias"]
        each = optax.softmax_cross_entropy_with_integer_labels(logits, labels[index])
        return jnp.mean(each, where=index >= 0)

    def step(state: tuple, index: jax.Array) -> tuple[tuple, None]:
        layer, moments = state
        updates, moments = optimizer.update(jax.grad(loss)(layer, index), moments, layer)
        return (optax.apply_updates(layer, updates), moments), None

    (layer, _), _ = jax.lax.scan(step, (layer, optimizer.init(layer)), steps)
    return layer
