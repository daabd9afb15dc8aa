"""Captions as SafeCLIP's code augments them: which words come out, and how often."""

from collections import Counter
from random import Random

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare

from safeclip_jax.data import published_text
from safeclip_jax.data.augment_text import random_of
from safeclip_jax.data.sources.scenes import Scenes
from tests.data.test_augment_text import Thesaurus
from tests.data.test_data import loader

CAPTION = "Two red birds over the old lake"
WORDS = CAPTION.lower().split()


def drawn(synonyms=None, count=6000, caption=CAPTION):
    return Counter(published_text.augment(caption, Random(i), synonyms) for i in range(count))


def is_share(found, of, expected):
    return binomtest(found, of, expected).pvalue > 1e-4


def test_captions_become_words_of_small_letters():
    """`get_only_chars` of the code: apostrophes go, all else that is no letter parts words."""
    for caption in ("It's a Café, Nr. 9 — on-line!", "It’s a caf , nr. — on line"):
        made = drawn(caption=caption, count=50).most_common(1)[0][0]
        assert made == "its a caf nr on line"
    assert published_text.augment("日本 9", Random(0)) == "日本 9"


def test_without_a_thesaurus_half_of_the_captions_stay_and_few_words_are_deleted():
    found = drawn()
    length = len(WORDS)
    swapped = (1 - length**-3) / 4  # three draws for another place
    deleted = (1 - 0.9**length) / 4
    unchanged = found[" ".join(WORDS)]
    assert is_share(unchanged, 6000, 1 - swapped - deleted)
    shorter = Counter(length - len(text.split()) for text in found.elements())
    for words in range(1, 4):
        likely = (
            0.9 ** (length - words)
            * 0.1**words
            * np.prod([(length - i) / (i + 1) for i in range(words)])
        )
        assert is_share(shorter[words], 6000, likely / 4)


@pytest.mark.parametrize("caption, share", [("a b", 7 / 8), ("one", 0)])
def test_swaps_of_short_captions(caption, share):
    """Of two words, three draws in a row may be the same place; one word has no other."""
    words = caption.split()
    found = Counter(tuple(published_text._swap(words, 1, Random(i), None)) for i in range(4000))
    assert is_share(4000 - found[tuple(words)], 4000, share)


def test_a_tenth_of_the_words_get_synonyms_and_stop_words_never():
    synonyms = Thesaurus(red=("ruby",), lake=("pond", "pool"), the=("this",), old=())
    found = Counter(
        " ".join(published_text._replace(WORDS, 1, Random(i), synonyms)) for i in range(4000)
    )
    text = " ".join(WORDS)
    expected = {
        text.replace("red", "ruby"): 0.5,
        text.replace("lake", "pond"): 0.25,
        text.replace("lake", "pool"): 0.25,
    }
    assert found.keys() == expected.keys()
    assert (
        chisquare([found[k] for k in expected], [4000 * v for v in expected.values()]).pvalue > 1e-4
    )
    twice = published_text._replace(["red", "red"], 1, Random(0), synonyms)
    assert twice == ["ruby", "ruby"]


def test_insertions_are_first_synonyms_before_any_word():
    """The code inserts at one of the words' places: never behind the last one."""
    synonyms = Thesaurus(red=("ruby",), lake=("pond", "pool"))
    found = Counter(
        tuple(published_text._insert(WORDS, 1, Random(i), synonyms)) for i in range(6000)
    )
    places = Counter()
    for words, count in found.items():
        (new,) = set(words) - set(WORDS) or {None}
        if new is not None:
            places[new, words.index(new)] += count
    assert {word for word, _ in places} == {"ruby", "pond"}
    assert {at for _, at in places} == set(range(len(WORDS)))
    none = (5 / 7) ** 10  # ten words without a synonym in a row
    assert is_share(6000 - places.total(), 6000, none)


def test_every_view_is_drawn_once_for_the_run():
    source, pairs = Scenes(64), np.arange(64)
    published = loader(source, published_captions=True)
    at = {}
    for epoch in (0, 1):
        for batch in published.training_batches(pairs, 32, (epoch, 0), (True, True)):
            rows = zip(batch["index"], batch["tokens"], strict=True)
            at |= {(epoch, int(i)): tokens for i, tokens in rows}
    for i in range(64):
        np.testing.assert_array_equal(at[0, i], at[1, i])
        for view in (0, 1):
            text = published_text.augment(source.captions[i], random_of(5, view, i))
            np.testing.assert_array_equal(at[0, i][view], published.tokenizer.encode([text])[0])
