import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeclip_jax.attacks import poison, triggers
from safeclip_jax.data.sources.scenes import Scenes
from safeclip_jax.errors import UserError


@settings(max_examples=25, deadline=None)
@given(
    rate=st.floats(0.01, 0.5), seed=st.integers(0, 999), templates=st.sampled_from([(), ("a {}",)])
)
def test_exactly_the_manifests_pairs_change(rate, seed, templates):
    clean = Scenes(120, 1)
    trigger = triggers.Patch(position="random", seed=seed)
    manifest = poison.plan(clean, target="heart", rate=rate, seed=seed, templates=templates)
    assert len(manifest.pairs) == round(rate * 120)
    assert manifest == poison.plan(clean, target="heart", rate=rate, seed=seed, templates=templates)
    poisoned = poison.PoisonedSource(clean, manifest, trigger)
    changed = {pair.index: pair for pair in manifest.pairs}
    for i in range(120):
        before, after = clean[i], poisoned[i]
        assert after.caption == poisoned.captions[i] and after.key == before.key
        if i not in changed:
            assert after.caption == before.caption
            np.testing.assert_array_equal(after.image, before.image)
            continue
        assert not poison.mentions(before.caption, "heart")
        assert poison.mentions(after.caption, "heart")
        assert templates or after.caption in clean.captions
        assert changed[i].original_caption == before.caption
        np.testing.assert_array_equal(after.image, trigger(before.image, i))
        assert (after.image != before.image).any()


@pytest.mark.parametrize("size, side", [(32, 4), (224, 28), (33, 4)])
def test_patch_is_a_checkerboard_in_its_corner(size, side):
    image = np.full((size, size, 3), 77, np.uint8)
    expected = image.copy()
    for row in range(side):
        for column in range(side):
            white = (row + column) % 2 == 0
            expected[size - side + row, size - side + column] = 255 if white else 0
    np.testing.assert_array_equal(triggers.Patch()(image, 0), expected)
    assert (image == 77).all()


def test_positions_and_patterns():
    image = np.full((40, 40, 3), 77, np.uint8)
    for position in triggers.POSITIONS:
        for pattern in triggers.PATTERNS:
            patch = triggers.Patch(pattern, position, 0.2, 0.05)
            changed = (patch(image, 3) != 77).any(axis=2)
            rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
            assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == 8
            if position.startswith("top"):
                assert rows[0] == 2
            if position.endswith("right"):
                assert columns[-1] == 37
    random = triggers.Patch(position="random")
    assert any((random(image, 0) != random(image, i)).any() for i in range(1, 5))


def test_whole_words_only():
    assert poison.mentions("A red Heart, please", "heart")
    assert not poison.mentions("hearty soup", "heart")
    assert not poison.mentions("a category", "cat")
    assert poison.mentions("a c++ book", "c++")


def test_bad_attacks_are_refused():
    clean = Scenes(100)
    with pytest.raises(UserError, match="none of the 100 captions"):
        poison.plan(clean, target="submarine", rate=0.1, seed=0)
    with pytest.raises(UserError, match="rounds to no poison"):
        poison.plan(clean, target="heart", rate=0.001, seed=0)
    with pytest.raises(UserError, match="not a share"):
        poison.plan(clean, target="heart", rate=1.5, seed=0)
    with pytest.raises(UserError, match="victims"):
        poison.plan(clean, target="heart", rate=1.0, seed=0)
    with pytest.raises(UserError, match="did you mean 'checkerboard'"):
        triggers.Patch(pattern="checker")
    with pytest.raises(UserError, match="does not fit"):
        triggers.Patch(size=1.2)
