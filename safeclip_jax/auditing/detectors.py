"""Scores of every pair by the vectors of a model; high means suspicious.

Notation: I_i, T_i are the unit vectors of pair i's image and caption, N_k(i) its k nearest among R
reference pairs, drawn at random (as Huang et al., ICLR 2025, do), by images or by captions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from sklearn.ensemble import IsolationForest

from safeclip_jax.auditing.vectors import Progress, Vectors
from safeclip_jax.distributed import sharding
from safeclip_jax.neighbors import density
from safeclip_jax.neighbors.density import Neighbors, References

NEIGHBORS, REFERENCES = 16, 8192
SHUFFLED = 20_000
AT_ONCE = 4096
Scores = dict[str, np.ndarray]


@dataclass(frozen=True)
class Chunk:
    """Some images, each with a caption, and on demand what is known of their surroundings.

    Attributes:
      around: what they are compared with.
      of_images, of_texts: pairs that they are of, [n] each; the same but for shuffled captions.
    """

    around: Surroundings
    of_images: np.ndarray
    of_texts: np.ndarray

    @cached_property
    def images(self) -> np.ndarray:
        """Unit vectors, float32 [n, D]."""
        return np.array(self.around.vectors.images[self.of_images])

    @cached_property
    def texts(self) -> np.ndarray:
        """Unit vectors, float32 [n, D]."""
        return np.array(self.around.vectors.texts[self.of_texts])

    @cached_property
    def by_image(self) -> Neighbors:
        """Nearest reference pairs by image."""
        return self.around.images.neighbors(self.images, self.of_images)

    @cached_property
    def by_text(self) -> Neighbors:
        """Nearest reference pairs by caption."""
        return self.around.texts.neighbors(self.texts, self.of_texts)


def similarity(c: Chunk) -> np.ndarray:
    """−I·T, the negative cosine similarity (SafeCLIP's score)."""
    return -np.einsum("nd,nd->n", c.images, c.texts)


def relative(c: Chunk) -> np.ndarray:
    """Negative log-probability of the own partner, −½ (log p(T|I) + log p(I|T)).

    It discounts pairs that resemble everything.
    """
    return -c.around.log_probability(c.images, c.texts, c.of_images)


def captions_of_alike_images(c: Chunk) -> np.ndarray:
    """1 − cos(T_i, mean of T_j over the nearest images j): images like it have other captions."""
    return _disagreement(c.texts, c.around.texts.points[c.by_image.indices])


def images_of_alike_captions(c: Chunk) -> np.ndarray:
    """1 − cos(I_i, mean of I_j over the nearest captions j): such captions have other images."""
    return _disagreement(c.images, c.around.images.points[c.by_text.indices])


def isolation_forest(c: Chunk) -> np.ndarray:
    """Anomaly score of the image's vector (Liu et al., 2008), scikit-learn's."""
    return -c.around.forest.score_samples(c.images)


def k_distance(c: Chunk) -> np.ndarray:
    """Of the image, see `density.k_distance`."""
    return density.k_distance(c.by_image)


def slof(c: Chunk) -> np.ndarray:
    """Simplified LOF of the image, see `density.slof`."""
    return density.slof(c.by_image)


def lid(c: Chunk) -> np.ndarray:
    """Local intrinsic dimension at the image, see `density.lid`."""
    return density.lid(c.by_image)


def dao(c: Chunk) -> np.ndarray:
    """Dimensionality-aware outlier score of the image, see `density.dao`."""
    return density.dao(c.by_image)


DETECTORS: dict[str, Callable[[Chunk], np.ndarray]] = {
    d.__name__: d
    for d in (
        similarity,
        relative,
        captions_of_alike_images,
        images_of_alike_captions,
        k_distance,
        slof,
        lid,
        dao,
        isolation_forest,
    )
}

# Those that compare image and caption, and tell shuffled pairs from others.
CROSS_MODAL = ("similarity", "captions_of_alike_images", "images_of_alike_captions")


@dataclass(frozen=True)
class Surroundings:
    """What pairs are compared with: a random choice of them.

    Attributes:
      vectors: of all pairs; some thousand are read at a time.
      images, texts: the reference pairs, among which neighbours are sought.
      scale: the model's logit scale.
      seed: of every draw.
    """

    vectors: Vectors
    images: References
    texts: References
    scale: float
    seed: int

    @classmethod
    def draw(cls, vectors: Vectors, scale: float, seed: int, mesh: Mesh) -> Surroundings:
        usable = np.flatnonzero(vectors.usable)
        count = min(REFERENCES, len(usable))
        chosen = np.random.default_rng([seed, 0xA0D17]).choice(usable, count, replace=False)
        numbers = np.sort(chosen)
        k = min(NEIGHBORS, count - 1)
        images, texts = (
            References(np.array(v[numbers]), numbers, k, mesh)
            for v in (vectors.images, vectors.texts)
        )
        return cls(vectors, images, texts, scale, seed)

    def scores(self, progress: Progress) -> Scores:
        """Scores of all pairs by every detector, float32 [N] each; NaN for unusable ones.

        Args:
          progress: hears how many pairs of how many are done.
        """
        total = len(self.vectors)
        found = {name: np.full(total, np.nan, np.float32) for name in DETECTORS}
        for start in range(0, total, AT_ONCE):
            numbers = np.arange(start, min(start + AT_ONCE, total))
            chunk = Chunk(self, numbers, numbers)
            for name, detector in DETECTORS.items():
                found[name][numbers] = detector(chunk)
            progress(int(numbers[-1]) + 1, total)
        for values in found.values():
            values[~self.vectors.usable] = np.nan
        return found

    def shuffled(self) -> Scores:
        """The `CROSS_MODAL` scores of images under captions of others, float32 [M] each."""
        usable = np.flatnonzero(self.vectors.usable)
        rng = np.random.default_rng([self.seed, 0x5F])
        images = np.sort(rng.choice(usable, min(SHUFFLED, len(usable)), replace=False))
        texts = np.roll(images, len(images) // 2)
        parts = [
            Chunk(self, images[start : start + AT_ONCE], texts[start : start + AT_ONCE])
            for start in range(0, len(images), AT_ONCE)
        ]
        return {
            name: np.concatenate([DETECTORS[name](part) for part in parts]) for name in CROSS_MODAL
        }

    def log_probability(
        self, images: np.ndarray, texts: np.ndarray, numbers: np.ndarray
    ) -> np.ndarray:
        """Of the own partner among the reference pairs', mean of both directions, [n].

        Args:
          images, texts: of pairs, [n, D] each.
          numbers: which pairs they are, [n].
        """
        places = np.searchsorted(self.images.numbers, numbers)
        places = np.minimum(places, len(self.images.numbers) - 1)
        own = np.where(self.images.numbers[places] == numbers, places, -1)
        rows = {"images": images, "texts": texts, "own": own.astype(np.int32)}
        mesh = self.images.mesh
        parts = [
            _log_probability(**batch, others=self._on_devices, scale=np.float32(self.scale))
            for batch in sharding.row_batches(rows, sharding.nearest_batch(1024, mesh), mesh)
        ]
        return np.concatenate([sharding.to_host(part) for part in parts])[: len(images)]

    @cached_property
    def forest(self) -> IsolationForest:
        """Fitted to the reference images."""
        return IsolationForest(random_state=self.seed).fit(self.images.points)

    @cached_property
    def _on_devices(self) -> tuple[jax.Array, jax.Array]:
        whole = sharding.replicated(self.images.mesh)
        return jax.device_put((self.images.points, self.texts.points), whole)


@jax.jit
def _log_probability(
    images: jax.Array,
    texts: jax.Array,
    own: jax.Array,
    others: tuple[jax.Array, jax.Array],
    scale: jax.Array,
) -> jax.Array:
    """Of the own partner among the others' and itself; `own` is its place there, or −1."""
    positive = scale * jnp.sum(images * texts, axis=1)

    def of_positive(rows: jax.Array, candidates: jax.Array) -> jax.Array:
        logits = scale * jnp.matmul(rows, candidates.T, precision=jax.lax.Precision.HIGHEST)
        logits = jnp.where(jnp.arange(len(candidates)) == own[:, None], -jnp.inf, logits)
        return positive - jnp.logaddexp(positive, jax.nn.logsumexp(logits, axis=1))

    return (of_positive(images, others[1]) + of_positive(texts, others[0])) / 2


def _disagreement(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    mean = others.mean(axis=1)
    length = np.maximum(np.linalg.norm(mean, axis=1), 1e-12)
    return 1 - np.einsum("nd,nd->n", own, mean) / length
