"""Objectives on one device: loss, slopes and state against float64; their views and banks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from safeclip_jax.data.augment_image import ImageAugmentation
from safeclip_jax.distributed import sharding
from safeclip_jax.objectives import objective as objective_module
from safeclip_jax.objectives.bank import Bank, enqueue
from safeclip_jax.objectives.bank_matched import BANK_MATCHED
from safeclip_jax.objectives.chunked import Chunks
from safeclip_jax.objectives.clip import CLIP
from safeclip_jax.objectives.clip_and_unimodal import ClipAndUnimodal
from safeclip_jax.objectives.crosswise import CROSSWISE
from safeclip_jax.objectives.objective import Objective, Settings
from safeclip_jax.objectives.unimodal import UNIMODAL

BATCH, BANK, WIDTH, SCALE, WEIGHT = 8, 24, 4, 6.0, 0.3
ALL = {o.name: o for o in (CLIP, UNIMODAL, BANK_MATCHED, CROSSWISE, ClipAndUnimodal(WEIGHT))}


BANKS = {"unimodal": ("image_bank", "text_bank"), "bank_matched": ("text_bank",)}


def unit(seed, *shape):
    x = np.random.default_rng(seed).standard_normal(shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def info_nce(queries, targets, scale):
    logits = scale * queries @ targets.T
    return np.mean(np.log(np.exp(logits).sum(axis=1)) - np.diagonal(logits))


def clip(images, texts, scale):
    return (info_nce(images, texts, scale) + info_nce(texts, images, scale)) / 2


def nearest(bank, queries):
    return bank[np.argmax(queries @ bank.T, axis=1)]


def reference(name, views, scale, banks):
    """The loss, float64."""
    (image, text), *others = views
    if name == "clip":
        return clip(image, text, scale)
    if name == "bank_matched":
        return clip(image, nearest(banks["text_bank"], image), scale)
    ((other_image, other_text),) = others
    if name == "unimodal":
        of_images = info_nce(other_image, nearest(banks["image_bank"], image), scale)
        of_texts = info_nce(other_text, nearest(banks["text_bank"], text), scale)
        return (of_images + of_texts) / 2
    if name == "crosswise":
        return (info_nce(image, other_text, scale) + info_nce(text, other_image, scale)) / 2
    within = info_nce(image, other_image, scale) + info_nce(text, other_text, scale)
    return clip(image, text, scale) + WEIGHT * within / 2


def settings(chunk=None):
    chunks = None if chunk is None else Chunks(chunk, sharding.make_mesh(), chunk == 4)
    return Settings(ImageAugmentation(), BANK, chunks)


@pytest.mark.parametrize(
    "name, chunk", [*((name, chunk) for name in ALL for chunk in (None, 4)), ("unimodal", 0)]
)
def test_loss_slopes_and_state_are_those_of_a_plain_statement(name, chunk):
    objective, place = ALL[name], {"image_bank": 1, "text_bank": 2}
    arrays = unit(3, objective.views, 2, BATCH, WIDTH)
    rows = {key: unit(place[key], BANK, WIDTH) for key in BANKS.get(name, ())}
    state = {"other": jnp.ones(2)} | {
        key: Bank(jnp.float32(x).reshape(-1, BATCH, WIDTH), jnp.int32(1)) for key, x in rows.items()
    }

    @jax.jit
    def step(arrays, scale):
        def loss(arrays, scale):
            views = [tuple(view) for view in arrays]
            return objective.loss(views, scale, state, settings(chunk))

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(arrays, scale)

    (loss, new), (slopes, scale_slope) = step(jnp.float32(arrays), jnp.float32(SCALE))
    np.testing.assert_allclose(loss, reference(name, arrays, SCALE, rows), rtol=1e-5)

    def difference(change, of_scale=0.0, step=1e-6):
        up, down = (
            reference(name, arrays + sign * step * change, SCALE + sign * step * of_scale, rows)
            for sign in (1, -1)
        )
        return (up - down) / (2 * step)

    for seed in range(2):
        change = np.random.default_rng(seed).standard_normal(arrays.shape)
        np.testing.assert_allclose(
            np.sum(slopes * change), difference(change), rtol=1e-3, atol=1e-5
        )
    np.testing.assert_allclose(scale_slope, difference(0 * arrays, 1.0), rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(new["other"], 1)
    assert new.keys() == state.keys()
    for key in rows:
        rows[key][BATCH : 2 * BATCH] = arrays[0][place[key] - 1]
        np.testing.assert_allclose(new[key].rows.reshape(BANK, WIDTH), rows[key], rtol=1e-6)
        assert int(new[key].next) == 2


def test_banks_begin_with_random_unit_vectors_of_their_own():
    key = jax.random.key(5)
    kept, matched = jax.jit(
        lambda key: [o.initial(key, BATCH, WIDTH, settings()) for o in (UNIMODAL, BANK_MATCHED)]
    )(key)
    assert kept.keys() == {"image_bank", "text_bank"}
    for bank in kept.values():
        assert bank.rows.shape == (3, BATCH, WIDTH)
        assert int(bank.next) == 0 and bank.next.dtype == jnp.int32
        np.testing.assert_allclose(np.linalg.norm(bank.rows, axis=2), 1, rtol=1e-5)
        assert np.abs(np.mean(bank.rows, axis=(0, 1))).max() < 0.4  # no direction comes first
    assert (kept["image_bank"].rows != kept["text_bank"].rows).any()
    assert matched.keys() == {"text_bank"}
    np.testing.assert_array_equal(matched["text_bank"].rows, kept["text_bank"].rows)
    assert CLIP.initial(key, BATCH, WIDTH, settings()) == {}


def test_a_bank_forgets_its_oldest_batch_and_passes_no_gradient():
    bank, batches = Bank(jnp.ones((3, 2, 4)), jnp.int32(0)), unit(0, 5, 2, 4)
    take_in = jax.jit(enqueue)
    for number, batch in enumerate(batches):
        bank = take_in(bank, jnp.float32(batch))
        assert int(bank.next) == (number + 1) % 3
    np.testing.assert_allclose(bank.rows, batches[[3, 4, 2]], rtol=1e-6)
    slope = jax.jit(jax.grad(lambda x: jnp.sum(enqueue(bank, x).rows)))(jnp.ones((2, 4)))
    assert not slope.any()


VIEWS = {  # views, fixed; which are augmented, without and with the stage's augmentation
    "clip": (1, 0, (False,), (True,)),
    "unimodal": (2, 1, (True, True), (True, True)),
    "bank_matched": (1, 0, (False,), (True,)),
    "clip_and_unimodal": (2, 0, (False, True), (True, True)),
    "crosswise": (2, 0, (True, True), (True, True)),
}


@pytest.mark.parametrize("name", ALL)
def test_views_are_augmented_where_they_should_be(name):
    objective, (views, fixed, plain, augmented) = ALL[name], VIEWS[name]
    assert (objective.views, objective.fixed, objective.plain) == (views, fixed, not plain[0])
    assert objective.caption_views(False) == plain
    assert objective.caption_views(True) == augmented


def test_an_objective_looks_once_at_pairs_as_they_are_and_keeps_nothing():
    assert (Objective.views, Objective.fixed, Objective.plain) == (1, 0, True)
    assert not Chunks(4, sharding.make_mesh()).split_banks
    assert ClipAndUnimodal().weight == 1.0 and Settings(ImageAugmentation()).bank_size == 0


def test_each_view_has_its_captions_and_keys_of_its_own(monkeypatch):
    asked = []

    def noting(images, keys, strength, size, aspect):
        asked.append((np.asarray(jax.random.key_data(keys)), strength))
        return images + 1

    monkeypatch.setattr(objective_module, "augment", noting)
    rng, keys = np.random.default_rng(0), jax.random.split(jax.random.key(1), 2)
    images = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    batch = {"image": jnp.asarray(images), "tokens": rng.integers(9, size=(2, 2, 5))}
    seen = ALL["clip_and_unimodal"].views_of(batch, keys, False, settings())
    ALL["clip_and_unimodal"].views_of(batch, keys, True, settings())
    (alone,) = CLIP.views_of(batch, keys, True, settings())
    pixels = np.float32(images) / 255
    for view in range(2):
        np.testing.assert_allclose(seen[view].images, pixels + view, rtol=1e-6)
        np.testing.assert_array_equal(seen[view].tokens, batch["tokens"][:, view])
    np.testing.assert_allclose(alone.images, pixels + 1, rtol=1e-6)
    of_view = [[jax.random.key_data(jax.random.fold_in(k, v)) for k in keys] for v in range(2)]
    expected = [of_view[1], of_view[0], of_view[1], jax.random.key_data(keys)]
    np.testing.assert_array_equal([found for found, _ in asked], expected)
    assert {strength for _, strength in asked} == {settings().augmentation}
