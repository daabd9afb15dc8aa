"""Packed strings and views of sequences behave as the lists that they stand for."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeclip_jax.data import strings
from safeclip_jax.data.sources import mix
from safeclip_jax.data.sources.base import same_numbers
from safeclip_jax.data.sources.scenes import Scenes
from safeclip_jax.data.strings import Changed, Chosen, Joined, PackedStrings

# Surrogates stand for bytes of file names that are no UTF-8.
WORDS = st.lists(st.one_of(st.text(max_size=9), st.just("\udcff.png")), max_size=20)
FEW = settings(max_examples=100, deadline=None)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(strings, "_AT_ONCE", 3)


def assert_is(found, expected):
    assert list(found) == expected and len(found) == len(expected)
    assert [found[i] for i in range(-len(expected), len(expected))] == expected * 2
    assert found[1:-1] == expected[1:-1] and found[::-2] == expected[::-2]
    for beyond in (len(expected), -len(expected) - 1):
        with pytest.raises(IndexError):
            found[beyond]


@FEW
@given(WORDS)
def test_packed(words):
    assert_is(PackedStrings.pack(words), words)


@FEW
@given(st.lists(WORDS, max_size=4), st.data())
def test_views(parts, data):
    packed = [PackedStrings.pack(words) for words in parts]
    words = list(itertools.chain(*parts))
    joined = Joined(packed)
    assert_is(joined, words)
    places = st.integers(0, max(len(words) - 1, 0))
    indices = data.draw(st.lists(places, max_size=9 if words else 0))
    assert_is(Chosen(joined, np.array(indices, int)), [words[i] for i in indices])
    changes = {i: "other" for i in indices}
    assert_is(Changed(joined, changes), [changes.get(i, word) for i, word in enumerate(words)])


@FEW
@given(WORDS)
def test_equal_names_have_equal_numbers_in_the_order_of_their_first(words):
    firsts = list(dict.fromkeys(words))
    expected = [firsts.index(word) for word in words]
    assert same_numbers(PackedStrings.pack(words)).tolist() == expected


def test_parts_and_choices_are_those_of_numpys_generator():
    """A run's pairs do not change with how their indices are kept."""
    source = Scenes(1000)
    order = np.random.default_rng([7, 0x9A27]).permutation(1000)
    expected = [source.keys[i] for i in np.sort(order[100:700])]
    assert list(mix.part(source, 0.1, 0.7, 7).keys) == expected
    chosen = np.random.default_rng([7, 0x5B5E7]).choice(1000, 300, replace=False)
    assert list(mix.sample(source, 300, 7).keys) == [source.keys[i] for i in np.sort(chosen)]
