"""Groups of nearly equal vectors against brute force, and which of them misfit, by SciPy."""

import numpy as np
import pytest
from scipy.stats import binom

from safeclip_jax.auditing import groups


def repeated(sizes, others=40, width=12, apart=0.0, seed=0):
    """Unit vectors of which the first ones come so many times, in a shuffled order."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((len(sizes) + others, width))
    rows = np.repeat(np.arange(len(x)), [*sizes, *[1] * others])
    order = rng.permutation(len(rows))
    made = x[rows[order]]
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    made += apart * rng.standard_normal(made.shape) / np.sqrt(width)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return np.float32(made), rows[order]


def pairs_of(rows, usable=None):
    usable = np.ones(len(rows), bool) if usable is None else usable
    same = (rows[:, None] == rows) & usable[:, None] & usable
    return np.argwhere(np.triu(same, 1))


@pytest.mark.parametrize("at_once", [16_384, 7])
def test_every_pair_of_equal_vectors_is_found_once_and_no_other(at_once, monkeypatch):
    monkeypatch.setattr(groups, "_AT_ONCE", at_once)
    x, rows = repeated([2, 3, 6])
    edges = groups.near(x, np.ones(len(x), bool), 0)
    assert edges.dtype == np.int64
    np.testing.assert_array_equal(edges, pairs_of(rows))
    usable = np.arange(len(x)) % 3 > 0
    np.testing.assert_array_equal(groups.near(x, usable, 0), pairs_of(rows, usable))
    none = groups.near(x, np.zeros(len(x), bool), 0)
    assert none.shape == (0, 2)


def test_vectors_are_nearly_the_same_up_to_a_distance():
    angles = np.linspace(0, 0.2, 30)
    arc = np.float32(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    x = np.concatenate([arc, -arc])  # so that the middle is far from all
    edges = {tuple(edge) for edge in groups.near(x, np.ones(60, bool), 0).tolist()}
    distances = np.linalg.norm(x[:, None] - x, axis=-1)
    close = {tuple(edge) for edge in np.argwhere(np.triu(distances <= groups.NEAR, 1)).tolist()}
    closer = {tuple(edge) for edge in np.argwhere(np.triu(distances < 0.04, 1)).tolist()}
    assert len(closer) > 2 * 29 and closer <= edges <= close


def test_planes_go_through_the_middle_of_the_vectors():
    """Vectors that all lean one way would share most buckets of planes through zero."""
    rng = np.random.default_rng(0)
    x = np.float32(50 + rng.standard_normal((400, 16)))
    codes = groups._codes(x, 0)
    assert codes.shape == (400, groups.TABLES) and codes.dtype == np.int64
    assert codes.min() >= 0 and codes.max() < 2**groups.PLANES
    bits = (codes[..., None] >> np.arange(groups.PLANES)) & 1
    assert np.all(np.abs(bits.mean(axis=0) - 0.5) < 0.3)
    assert min(len(np.unique(codes[:, table])) for table in range(groups.TABLES)) > 390
    assert (codes != groups._codes(x, 1)).any()
    np.testing.assert_array_equal(codes, groups._codes(x, 0))


def test_a_code_is_the_sides_of_a_tables_planes_in_binary():
    x = np.float32(np.random.default_rng(0).standard_normal((60, 8)))
    rng, (tables, planes) = np.random.default_rng([3, 0x15A]), (groups.TABLES, groups.PLANES)
    directions = rng.standard_normal((8, tables * planes)).astype(np.float32)
    above = ((x - x.mean(axis=0)) @ directions > 0).reshape(60, tables, planes)
    expected = [[int("".join("01"[s] for s in t[::-1]), 2) for t in row] for row in above.tolist()]
    assert np.mean(groups._codes(x, 3) == expected) > 0.98  # of rounding at a plane


def test_members_of_a_large_bucket_are_compared_with_so_many_others(monkeypatch):
    monkeypatch.setattr(groups, "_WINDOW", 3)
    x = np.repeat(np.float32(np.eye(4)[:1]), 9, axis=0)
    x = np.concatenate([x, -x[:1]])  # so that the middle is elsewhere
    edges = groups.near(x, np.ones(10, bool), 0)
    expected = [(i, j) for i in range(9) for j in range(i + 1, 9) if j - i <= 3]
    assert [tuple(edge) for edge in edges] == expected
    (cluster,) = groups.clusters(edges, 10)
    assert cluster.tolist() == list(range(9))


def test_clusters_are_what_edges_connect_the_largest_first():
    edges = np.array([[7, 8], [0, 5], [5, 3], [2, 9], [1, 4], [4, 6], [6, 1]])
    found = [cluster.tolist() for cluster in groups.clusters(edges, 11)]
    assert found == [[0, 3, 5], [1, 4, 6], [2, 9], [7, 8]]


def test_misfitting_groups_are_those_of_a_binomial_test_corrected_for_their_number():
    clusters = [np.arange(8), np.arange(8, 11), np.arange(11, 31), np.arange(31, 32)]
    misfits = np.zeros(40, bool)
    misfits[[0, 1, 2, 8, 9, 11, 12, 31]] = True
    share, counts = 0.05, [3, 2, 2, 1]
    expected = {}
    for number, (members, count) in enumerate(zip(clusters, counts, strict=True)):
        chance = 1 - binom.cdf(count - 1, len(members), share)
        expected[number] = min(4 * chance, 1.0)
    assert expected[0] < 0.05 and expected[1] / 4 < 0.05 and expected[2] == 1
    found = groups.misfitting("caption", clusters, misfits, share, 0.5)
    assert [(g.kind, g.members.tolist(), g.misfits) for g in found] == [
        ("caption", list(range(8)), 3), ("caption", [8, 9, 10], 2)
    ]  # fmt: skip
    np.testing.assert_allclose([g.p_value for g in found], [expected[0], expected[1]])
    assert len(groups.misfitting("caption", clusters, misfits, share, expected[1])) == 1
    # One caption alone that does not fit is no repetition, however rare that is.
    everything = groups.misfitting("caption", clusters, misfits, 1e-6, 1.0)
    assert [g.misfits for g in everything] == [3, 2, 2]
    assert groups.misfitting("caption", [], misfits, share, 1.0) == []
