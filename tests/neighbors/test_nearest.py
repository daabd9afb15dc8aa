"""The nearest of many vectors against a stable sort, over blocks of queries and candidates."""

import numpy as np
import pytest

from safeclip_jax.neighbors import nearest


def sorted_first(queries, candidates, k):
    similarity = queries @ candidates.T
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(similarity, order, axis=1), order


@pytest.mark.parametrize("at_once", [(256, 8192), (3, 4)])
@pytest.mark.parametrize("k", [1, 5, 40])
def test_they_are_the_first_of_a_stable_sort_also_of_equals_at_rank_k(
    at_once, k, mesh, monkeypatch
):
    monkeypatch.setattr(nearest, "_QUERIES_A_DEVICE", at_once[0])
    monkeypatch.setattr(nearest, "_CANDIDATES", at_once[1])
    rng = np.random.default_rng(0)
    # Small whole numbers: products are exact, and many similarities are equal.
    queries, candidates = rng.integers(-2, 3, (7, 4)), rng.integers(-2, 3, (18, 4))
    values, places = nearest.nearest(queries, candidates, k, mesh)
    expected, order = sorted_first(queries, candidates, k)
    assert values.dtype == np.float32 and places.dtype == np.int32
    assert values.shape == places.shape == (7, min(k, 18))
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(places, order)


def test_rows_that_fill_up_a_block_are_no_candidates(mesh, monkeypatch):
    """All true ones are as unlike as can be; a row of zeros would come before them."""
    monkeypatch.setattr(nearest, "_CANDIDATES", 4)
    queries, candidates = np.array([[1.0, 0], [0.6, 0.8]]), np.array([[-1.0, 0]] * 6)
    values, places = nearest.nearest(queries, candidates, 9, mesh)
    np.testing.assert_array_equal(places, [np.arange(6)] * 2)
    np.testing.assert_allclose(values, [[-1] * 6, [-0.6] * 6], rtol=1e-6)
