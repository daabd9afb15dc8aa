"""Scores of pairs against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from safeclip_jax.defenses.scores import SCORES

SCALE = 7.0


def pairs(seed):
    """Unit vectors of eight images and captions."""
    x = np.random.default_rng(seed).standard_normal((2, 8, 8))
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def reference(name, images, texts):
    logits = SCALE * images @ texts.T
    of_texts = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)  # by each image
    of_images = np.exp(logits) / np.exp(logits).sum(axis=0)  # by each caption
    own = np.diagonal
    if name == "cosine":
        return own(images @ texts.T)
    if name == "relative":
        return 1 + (np.log(own(of_texts)) + np.log(own(of_images))) / 2 / np.log(len(images))
    entropy = -np.sum(of_images * np.log(of_images), axis=0)
    return 1 + (np.log(own(of_images)) + entropy) / np.log(len(images))


def scored(name, images, texts, scale=SCALE):
    of_pairs = jax.jit(SCORES[name].of_pairs, static_argnums=3)
    return of_pairs(jnp.float32(images), jnp.float32(texts), jnp.float32(scale), None)


@pytest.mark.parametrize("name", list(SCORES))
def test_scores_are_those_of_a_plain_statement(name):
    images, texts = pairs(0)
    found = scored(name, images, texts)
    np.testing.assert_allclose(found, reference(name, images, texts), rtol=2e-5, atol=1e-6)
    others = np.concatenate([[images[:4], texts[:4]], pairs(1)[:, 4:]], axis=1)
    beside_others = scored(name, *others)
    assert np.allclose(found[:4], beside_others[:4], atol=1e-4) != SCORES[name].compares
    assert SCORES[name].batch == 1024


def test_certain_and_guessed_partners_score_one_and_zero():
    same = np.eye(8)
    alike = np.repeat(same[:1], 8, axis=0)
    for name in ("relative", "typical"):
        np.testing.assert_allclose(scored(name, same, same, 100), 1, atol=1e-5)
    np.testing.assert_allclose(scored("relative", alike, alike, 100), 0, atol=1e-5)
    # A guess among all alike is what a caption that fits all lets expect.
    np.testing.assert_allclose(scored("typical", alike, alike, 100), 1, atol=1e-5)
