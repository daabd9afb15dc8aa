"""Images that cannot be used: every evaluator's figures are those of a source without them."""

from dataclasses import replace

import numpy as np
import pytest

from safeclip_jax.attacks.manifest import ChosenImage
from safeclip_jax.data.sources.mix import ImageSubset
from safeclip_jax.evaluation import attack, knn, linear_probe, retrieval, zero_shot
from safeclip_jax.evaluation.task import Embedded
from tests.support.embedded import fake_source

BAD, COUNT, LEARN = (0, 4, 11, 29), 30, 60
GOOD = np.setdiff1d(np.arange(COUNT), BAD)
CHOSEN = ((4, "class 1"), (5, "class 2"), (12, "class 3"), (29, "class 0"))


def white(picture, index):
    changed = picture.copy()
    changed[0, 1] = 3 if index % 2 else changed[0, 1]
    return changed


def attacked(places):
    """The attack task, with those chosen images that have a place."""
    chosen = [ChosenImage(places[i], "", "", name) for i, name in CHOSEN if i in places]
    by_index = {new: old for old, new in places.items()}

    def trigger(picture, index):
        return white(picture, by_index[index])

    return attack.AttackTask("class 3", {"white": trigger}, chosen)


TASKS = {
    "zero_shot": lambda places: zero_shot.evaluate,
    "retrieval": lambda places: retrieval.evaluate,
    "knn": lambda places: knn.evaluate,
    "linear_probe": lambda places: linear_probe.evaluate,
    "attack": attacked,
}


def without(embed, bad):
    """As `embed`, but these images of the held-out ones, and every fifth to learn, are torn."""

    def embedded(images, trigger=None):
        found = embed(images, trigger)
        torn = range(0, LEARN, 5) if len(images) == LEARN else bad
        keep = np.setdiff1d(np.arange(len(images)), list(torn))
        return Embedded(found.vectors[keep], keep)

    return embedded


def only(source, good):
    return replace(source, images=ImageSubset(source.images, good))


@pytest.mark.parametrize("name", TASKS)
def test_figures_are_those_of_a_source_without_them(name, mesh):
    source, embed_images, embed_texts = fake_source(7, COUNT, learn=LEARN, noise=1.6)
    whole = TASKS[name]({i: i for i in range(COUNT)})
    found = whole(without(embed_images, BAD), embed_texts, source, mesh)
    part = TASKS[name]({int(old): new for new, old in enumerate(GOOD)})
    expected = part(without(embed_images, ()), embed_texts, only(source, GOOD), mesh)
    assert found.keys() == expected.keys() and found
    for figure, value in expected.items():
        np.testing.assert_equal(found[figure], value, err_msg=figure)


@pytest.mark.parametrize("name", TASKS)
def test_where_no_image_can_be_used_there_are_no_figures(name, mesh):
    source, embed_images, embed_texts = fake_source(7, COUNT, learn=LEARN, noise=1.6)
    task = TASKS[name]({i: i for i in range(COUNT)})
    assert task(without(embed_images, range(COUNT)), embed_texts, source, mesh) == {}
