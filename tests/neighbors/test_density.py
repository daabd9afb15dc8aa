"""Local-density scores against scikit-learn and plain loops."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from safeclip_jax.distributed import sharding
from safeclip_jax.neighbors import density

DEVICES = 8

K = 7


@pytest.fixture(scope="module", params=[300, 5000])
def points(request):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((request.param, 6))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def near(points):
    reference = np.sort(np.random.default_rng(1).choice(len(points), 120, replace=False))
    return reference, density.neighbors(points, reference, K, sharding.make_mesh())


def test_neighbours_equal_scikit_learns(points, near):
    reference, found = near
    model = NearestNeighbors(n_neighbors=K + 1, algorithm="brute").fit(points[reference])
    distances, _ = model.kneighbors(points)
    itself = np.isin(np.arange(len(points)), reference)
    np.testing.assert_allclose(found.distances[itself], distances[itself, 1:], atol=1e-6)
    np.testing.assert_allclose(found.distances[~itself], distances[~itself, :-1], atol=1e-6)
    for i in (0, len(points) - 1):
        expected = np.linalg.norm(points[reference[found.indices[i]]] - points[i], axis=1)
        np.testing.assert_allclose(found.distances[i], expected, atol=1e-6)


def test_scores_equal_loops(points, near):
    reference, found = near

    def distances(i):
        others = np.array([j for j in reference if j != i])
        d = np.linalg.norm(points[others] - points[i], axis=1)
        order = np.argsort(d)[:K]
        return d[order], others[order]

    def lid(d):
        return -1 / np.mean([np.log(x / d[-1]) for x in d])

    for i in (0, 5, int(reference[0]), len(points) - 1):
        d, others = distances(i)
        theirs = [distances(j)[0] for j in others]
        ratios = np.array([d[-1] / t[-1] for t in theirs])
        dimensions = np.array([lid(t) for t in theirs])
        expected = {
            density.k_distance: d[-1],
            density.slof: ratios.mean(),
            density.lid: lid(d),
            density.dao: np.mean(dimensions * np.log(ratios)),
        }
        for score, value in expected.items():
            np.testing.assert_allclose(score(found)[i], value, rtol=1e-5, err_msg=score.__name__)


def test_distances_of_very_near_points_are_as_exact_as_their_vectors():
    """Where a cosine of single precision says nothing: the points are 1e-5 to 1e-1 apart."""
    rng = np.random.default_rng(0)
    x = 1 + np.geomspace(1e-5, 0.1, 60)[:, None] * rng.standard_normal((60, 16))
    x = np.float32(x / np.linalg.norm(x, axis=1, keepdims=True))
    reference = np.arange(0, 60, 2)
    found = density.neighbors(x, reference, K, sharding.make_mesh())
    exact = np.linalg.norm(np.float64(x)[:, None] - np.float64(x[reference]), axis=-1)
    exact[reference, np.arange(30)] = np.inf  # no point is its own neighbour
    near = np.sort(exact, axis=1)[:, :K]
    assert near.min() < 1e-4 and near.max() > 0.1
    np.testing.assert_allclose(found.distances, near, atol=5e-4)  # which of equal cosines is open
    assert (np.diff(found.distances, axis=1) >= 0).all()
    of_index = np.take_along_axis(exact, found.indices, axis=1)
    np.testing.assert_allclose(found.distances, of_index, rtol=1e-3)
    np.testing.assert_array_equal(found.reference_distances, found.distances[reference])


def test_an_outlier_scores_higher_and_duplicates_stay_finite():
    rng = np.random.default_rng(3)
    x = np.concatenate([1 + 0.01 * rng.standard_normal((200, 4)), [[1, 1, 1, -1]]])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    mesh = sharding.make_mesh()
    scores = (density.k_distance, density.slof, density.dao)
    for score in scores:
        assert np.argmax(score(density.neighbors(x, np.arange(201), K, mesh))) == 200
    x[:20] = x[0]
    for score in (*scores, density.lid):
        assert np.isfinite(score(density.neighbors(x, np.arange(201), K, mesh))).all()
