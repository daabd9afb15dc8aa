"""Captions of poisons: what each kind may draw, and the nearest one by TF-IDF written out."""

from collections import Counter

import numpy as np
import pytest

from safeclip_jax.attacks import captions
from safeclip_jax.data.sources.base import Columns, Source

TEXTS = [
    "a red heart on snow",
    "the old house by the sea",
    "Heart of a white, white town",
    "a white town in the snow",
    "two birds",
    "the heart by the sea",
]
DONORS = np.array([0, 2, 5])


class Texts(Source):
    """Pairs of which only the captions are known."""

    def __init__(self):
        super().__init__(Columns(TEXTS, [f"{i}" for i in range(len(TEXTS))]))

    def image(self, index):
        raise AssertionError("captions are chosen without pictures")


def chosen(kind, victims=(1, 3, 4), seed=0):
    rng = np.random.default_rng(seed)
    return captions.choose(kind, Texts(), list(victims), DONORS, "heart", rng)


def test_templates_name_the_target_and_each_is_drawn():
    found = Counter(text for seed in range(300) for text in chosen("templates", seed=seed))
    assert found.keys() == {
        "a photo of a heart", "a picture of a heart", "a drawing of a heart"
    }  # fmt: skip
    assert min(found.values()) > 240


def test_captions_of_the_data_are_those_that_name_the_target():
    found = Counter(text for seed in range(300) for text in chosen("data", seed=seed))
    assert found.keys() == {TEXTS[i] for i in DONORS} and min(found.values()) > 240


def test_half_true_captions_add_the_target():
    assert chosen("both") == [f"{TEXTS[i]} and a heart" for i in (1, 3, 4)]


def tfidf_cosines(victims, donors):
    """Cosines of scikit-learn's smoothed TF-IDF, with plain loops; idf is of the donors."""
    split = [text.lower().replace(",", "").split() for text in donors]
    words = sorted({word for text in split for word in text})
    idf = {w: np.log((1 + len(split)) / (1 + sum(w in t for t in split))) + 1 for w in words}

    def vector(text):
        return np.array([text.count(word) * idf[word] for word in words])

    rows = []
    for victim in victims:
        own = vector(victim.lower().replace(",", "").split())
        of = [own @ vector(text) / np.linalg.norm(vector(text)) for text in split]
        rows.append(np.array(of) / (np.linalg.norm(own) or 1))
    return np.array(rows)


@pytest.mark.parametrize("rows", [1024, 2])
def test_the_nearest_caption_has_the_most_like_words(rows, monkeypatch):
    monkeypatch.setattr(captions, "_ROWS", rows)
    victims = (1, 3, 4, 1, 3)
    found = chosen("nearest", victims)
    cosines = tfidf_cosines([TEXTS[i] for i in victims], [TEXTS[i] for i in DONORS])
    best = [[TEXTS[DONORS[j]] for j in np.flatnonzero(row == row.max())] for row in cosines]
    assert len(found) == 5 and all(text in among for text, among in zip(found, best, strict=True))
    assert found[:2] == ["the heart by the sea", TEXTS[2]]
    # Of equally good ones the first after a shuffle: not always the same.
    assert {chosen("nearest", [4], seed)[0] for seed in range(40)} == {TEXTS[i] for i in DONORS}


@pytest.mark.parametrize("kind", ["data", "templates", "nearest", "both"])
def test_no_victims_get_no_captions(kind):
    assert chosen(kind, ()) == []
