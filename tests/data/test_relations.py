"""Scenes of two shapes: what captions say is what is drawn."""

import re

import numpy as np
import pytest

from safeclip_jax.data.held_out import Request, open_held_out
from safeclip_jax.data.sources import SourceOptions, open_source
from safeclip_jax.data.sources.outlines import OUTLINES
from safeclip_jax.data.sources.relations import PROMPTS, RELATIONS, Relations
from safeclip_jax.data.sources.scenes import COLORS
from safeclip_jax.errors import UserError

COUNT = 600


@pytest.fixture(scope="module")
def source():
    return Relations(COUNT, seed=3)


def centre_of(image, color):
    """Mean place (x, y) of the pixels of a colour, and their share of the image."""
    near = np.abs(image.astype(int) - COLORS[color]).sum(axis=2) < 60
    rows, columns = np.nonzero(near)
    return columns.mean(), rows.mean(), near.mean()


def test_there_are_forty_shapes_inside_their_square_and_all_occur(source):
    assert len(OUTLINES) == len(source.class_names) == 40
    for points, _ in OUTLINES.values():
        assert np.abs(np.array(points)).max() <= 1 + 1e-9
    assert len(set(source.labels)) == 40


def test_captions_name_the_larger_shape_and_say_where_the_other_one_is(source):
    told = {f"{there}": way for way, (there, _) in RELATIONS.items()}
    said = 0
    for i, caption in enumerate(source.captions):
        name = source.class_names[source.labels[i]]
        assert re.search(rf"\b{name}\b", caption)
        assert not re.search(r"\ba [aeiou]", caption)
        found = re.fullmatch(r"a (\w+) (\w+) (left of|right of|above|below) a (\w+) (\w+)", caption)
        if not found:
            continue
        said += 1
        one, _, relation, two, _ = found.groups()
        image = source.image(i)
        (x, y, share), (u, v, other) = (centre_of(image, color) for color in (one, two))
        dx, dy = told[relation]
        assert (u - x) * dx + (v - y) * dy > 4, caption
        larger = found.group(2) == name
        if name not in ("ring", "frame", "key", "moon", "pillar", "bolt"):
            assert (share > 0.5 * other) == larger or share * 2 > other
    assert COUNT * 3 / 8 * 0.8 < said < COUNT * 3 / 8 * 1.2


def test_scene_i_depends_on_seed_split_and_i_alone(source):
    again = Relations(10, seed=3)
    assert list(again.captions) == list(source.captions[:10])
    np.testing.assert_array_equal(again.image(7), source.image(7))
    assert source.image(7).shape == (64, 64, 3) and Relations(8, 3, size=32).image(7).shape[0] == 32
    for other in (Relations(10, seed=4), Relations(10, 3, "test")):
        assert list(other.captions) != list(again.captions)


def test_it_is_opened_by_name_and_held_out_with_its_prompts():
    options = SourceOptions(count=20, seed=1, split="test", size=64)
    assert len(open_source("relations", options)) == 20
    held_out = open_held_out(Request("relations", options))
    assert len(held_out.class_names) == 40
    assert next(iter(held_out.prompts[3])) == PROMPTS[0].format(held_out.class_names[3])
    assert held_out.to_learn is not None and len(held_out.to_learn()[0]) == 20
    with pytest.raises(UserError, match="relations: 0 pairs asked for"):
        Relations(0)
    with pytest.raises(UserError, match="split of relations"):
        Relations(3, split="dev")
