"""Retrieval against a stable sort in NumPy, with several captions an image and ties."""

import numpy as np
import pytest

from safeclip_jax.evaluation import retrieval
from tests.support.embedded import fake_source

DEVICES = 8


def plain_ranks(queries, candidates, query_groups, candidate_groups):
    # Rounded: a product of BLAS differs in its last bits between equal candidates.
    similarity = np.round(queries.astype(np.float64) @ candidates.T.astype(np.float64), 6)
    order = np.argsort(-similarity, axis=1, kind="stable")
    own = candidate_groups[order] == query_groups[:, None]
    return own.argmax(axis=1)


@pytest.mark.parametrize("images, a_caption, at_once", [(5, 1, 8192), (37, 3, 8), (16, 5, 7)])
def test_ranks_equal_a_stable_sort(images, a_caption, at_once, monkeypatch, mesh):
    monkeypatch.setattr(retrieval, "_CANDIDATES", at_once)
    monkeypatch.setattr(retrieval, "_QUERIES_A_DEVICE", 2)
    rng = np.random.default_rng(images)
    # Small whole numbers: products are exact, and many similarities are equal.
    i, t = rng.integers(-2, 3, (images, 6)), rng.integers(-2, 3, (images * a_caption, 6))
    of_images = rng.permutation(images)
    of_texts = rng.permutation(np.repeat(np.arange(images), a_caption))
    for arguments in ((i, t, of_images, of_texts), (t, i, of_texts, of_images)):
        found = retrieval.ranks(*arguments, mesh)
        np.testing.assert_array_equal(found, plain_ranks(*arguments))


def test_a_model_that_says_the_same_of_everything_finds_nothing(mesh):
    same, groups = np.ones((50, 4)), np.arange(50)
    np.testing.assert_array_equal(retrieval.ranks(same, same, groups, groups, mesh), groups)
    broken = np.full((50, 4), np.nan)
    assert (retrieval.ranks(broken, same, groups, groups, mesh) == 50).all()


def test_images_that_share_captions_are_embedded_once(mesh):
    source, embed_images, embed_texts = fake_source(classes=9, count=30)
    numbers = np.arange(30) // 2 * 2  # pairs 2 k and 2 k + 1 share the image of the first
    source.images.image_numbers = lambda: numbers
    asked = []

    def counting(images, trigger=None):
        asked.append(len(images))
        return embed_images(images, trigger)

    found = retrieval.evaluate(counting, embed_texts, source, mesh)
    assert asked == [15]
    images = embed_images(source.images).vectors[::2]
    texts = embed_texts(source.images.captions)
    for k in (1, 5, 10):
        ranks = plain_ranks(images, texts, numbers[::2], numbers)
        assert found[f"text_recall_at_{k}"].count == np.sum(ranks < k)
        ranks = plain_ranks(texts, images, numbers, numbers[::2])
        assert found[f"image_recall_at_{k}"].count == np.sum(ranks < k)
        assert found[f"image_recall_at_{k}"].of == 30
