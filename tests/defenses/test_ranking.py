"""The first of many values and their ranks, against NumPy and SciPy, over several parts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from safeclip_jax.defenses import ranking

VALUES = st.lists(
    st.one_of(st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 2.0]), st.floats(-9, 9, width=32)),
    min_size=1,
    max_size=60,
)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(ranking, "_AT_ONCE", 7)


HERE = settings(max_examples=150, deadline=None)


@HERE
@given(VALUES)
def test_ranks_are_scipys(values):
    values = np.float32(values)
    found = np.empty(len(values), np.float32)
    ranking.ranks(values, found)
    np.testing.assert_array_equal(found, rankdata(values).astype(np.float32))


@HERE
@given(VALUES, st.integers(0, 70), st.sets(st.integers(0, 59)))
def test_the_highest_are_the_first_of_a_stable_sort(values, count, without):
    values = np.float32(values)
    values[[i for i in without if i < len(values)]] = np.nan
    in_order = np.argsort(-values, kind="stable")
    np.testing.assert_array_equal(ranking.first(values, count), in_order[:count])
    even = np.arange(len(values)) % 2 == 0
    expected = [i for i in in_order if i % 2 == 0][:count]
    np.testing.assert_array_equal(ranking.first(values, count, even), expected)
    known = ~np.isnan(values)
    marked = ranking.highest(values, count, known)
    assert set(np.flatnonzero(marked)) == set(in_order[: min(count, known.sum())])


@HERE
@given(st.lists(st.booleans(), max_size=60))
def test_places_are_flatnonzero(mask):
    found = ranking.places(np.array(mask, bool))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, np.flatnonzero(mask))


@HERE
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.data())
def test_nth_is_the_place_of_an_entry_among_the_true_ones(mask, data):
    mask[-1] = True
    numbers = np.array(data.draw(st.lists(st.integers(0, sum(mask) - 1), max_size=9)), int)
    expected = np.flatnonzero(mask)[numbers]
    np.testing.assert_array_equal(ranking.nth(np.array(mask), numbers), expected)
