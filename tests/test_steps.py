import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

from safeclip_jax import losses, sharding
from safeclip_jax.data.augment_image import ImageAugmentation
from safeclip_jax.errors import UserError
from safeclip_jax.models import clip
from safeclip_jax.steps import Steps, init_state, make_optimizer, normalize


def mesh_of(devices):
    return jax.make_mesh(
        (devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
    )


@functools.cache
def steps_on(devices):
    config = clip.configure("tiny", image_size=32, context=8, vocab_size=50, end_id=49)
    optimizer = make_optimizer(0.9, 0.999, 0.1)
    return Steps(clip.CLIP(config), optimizer, ImageAugmentation(), mesh_of(devices), 0)


@functools.cache
def train_step(devices, objective, augmented):
    return steps_on(devices).train(objective, augmented)


@functools.cache
def first_state(devices):
    steps = steps_on(devices)
    return init_state(steps.model, steps.optimizer, 64, 0, steps.mesh)


def make(devices=8):
    """Steps and a state of their own to donate."""
    return steps_on(devices), jax.tree.map(jnp.copy, first_state(devices))


def batch(size=16, views=1, seed=0):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 49, (size, views, 8), dtype=np.int32)
    tokens[:, :, -1] = 49
    return {
        "index": np.arange(size, dtype=np.int32),
        "image": rng.integers(0, 256, (size, 32, 32, 3), dtype=np.uint8),
        "tokens": tokens,
        "valid": np.ones(size, bool),
    }


def run(devices, objective, augmented, count=4, rate=1e-3):
    steps, state = make(devices)
    step = train_step(devices, objective, augmented)
    history = []
    for i in range(count):
        data = sharding.to_devices(batch(16, 2, i), steps.mesh)
        state, metrics = step(state, data, np.float32(rate), np.array([0, 1], np.int32))
        history.append(float(metrics["loss"]))
    return state, history


def assert_close(a, b, atol):
    """Compares parameters: 99 % of them within `atol`, all within a few steps' reach.

    Where a gradient is zero but for rounding, as the keys' biases' are, Adam scales the
    rounding up to the learning rate.
    """
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    differences = np.concatenate([np.abs(np.ravel(x) - np.ravel(y)) for x, y in pairs])
    assert np.mean(differences > atol) < 0.01
    assert differences.max() < 0.01


@pytest.mark.parametrize(
    "objective, augmented",
    [
        ("clip", False),
        ("clip", True),
        ("unimodal", True),
        ("bank_matched", True),
        ("clip_and_unimodal", False),
    ],
)
def test_one_and_eight_devices_agree(objective, augmented):
    one, losses_one = run(1, objective, augmented)
    eight, losses_eight = run(8, objective, augmented)
    np.testing.assert_allclose(losses_one, losses_eight, rtol=1e-5)
    assert_close(one.params, eight.params, 1e-4)
    assert losses_one[0] != losses_one[1]


def test_a_step_is_optax_adamw_on_the_clip_loss():
    steps, state = make(1)
    data = batch()
    images = normalize(np.float32(data["image"]) / 255)

    def loss(params):
        image, text, scale = steps.model.apply(params, images, data["tokens"][:, 0])
        return losses.clip_loss(image, text, scale)

    mask = jax.tree.map_with_path(
        lambda path, x: x.ndim > 1 and path[-1].key != "bias", state.params
    )
    adamw = optax.adamw(1e-3, b1=0.9, b2=0.999, weight_decay=0.1, mask=mask)
    value, grads = jax.value_and_grad(loss)(state.params)
    updates, _ = adamw.update(grads, adamw.init(state.params), state.params)
    expected = optax.apply_updates(state.params, updates)
    data = sharding.to_devices(data, steps.mesh)
    new, metrics = train_step(1, "clip", False)(
        state, data, np.float32(1e-3), np.zeros(2, np.int32)
    )
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    np.testing.assert_allclose(metrics["grad_norm"], optax.global_norm(grads), rtol=1e-3)
    assert_close(new.params, expected, 2e-4)


def test_only_matrices_decay():
    optimizer = make_optimizer(0.9, 0.999, 0.5)
    _, state = make(1)
    zero = jax.tree.map(jnp.zeros_like, state.params)
    updates, _ = optimizer.update(zero, optimizer.init(state.params), state.params)
    for path, update in jax.tree.leaves_with_path(updates):
        name = jax.tree_util.keystr(path)
        decays = not any(word in name for word in ("bias", "scale", "class_token"))
        assert bool(jnp.any(update != 0)) == decays, name


def test_a_non_finite_step_changes_nothing_but_the_count():
    steps, state = make(8)
    before = jax.tree.map(np.asarray, state)
    broken = state.replace(
        params=jax.tree.map_with_path(
            lambda path, x: x * jnp.nan if "log_scale" in str(path) else x, state.params
        )
    )
    data = sharding.to_devices(batch(16, 2), steps.mesh)
    step = train_step(8, "unimodal", True)
    after, metrics = step(broken, data, np.float32(1e-3), np.zeros(2, np.int32))
    assert int(after.skipped) == int(metrics["skipped_in_a_row"]) == 1
    np.testing.assert_array_equal(after.image_bank.rows, before.image_bank.rows)
    np.testing.assert_array_equal(
        after.params["params"]["text_projection"]["kernel"],
        before.params["params"]["text_projection"]["kernel"],
    )
    healthy = after.replace(params=before.params)
    after, metrics = step(healthy, data, np.float32(1e-3), np.zeros(2, np.int32))
    assert int(after.skipped) == 1 and int(metrics["skipped_in_a_row"]) == 0


def test_unimodal_fills_the_banks_and_clip_leaves_them():
    state, _ = run(8, "unimodal", True, count=3)
    assert int(state.image_bank.next) == int(state.text_bank.next) == 48
    _, fresh = make(8)
    assert np.allclose(state.image_bank.rows[48:], fresh.image_bank.rows[48:])
    assert not np.allclose(state.image_bank.rows[:48], fresh.image_bank.rows[:48])
    state, _ = run(8, "clip", True, count=3)
    np.testing.assert_array_equal(state.image_bank.rows, fresh.image_bank.rows)


def test_scores_equal_numpy_and_do_not_depend_on_devices():
    data = batch(16)
    data["tokens"] = data["tokens"][:, 0]
    found = {}
    for devices in (1, 8):
        steps, state = make(devices)
        on_devices = sharding.to_devices(data, steps.mesh)
        for kind in ("cosine", "relative"):
            found[devices, kind] = np.asarray(steps.score(kind, state.params, on_devices))
    images = normalize(np.float32(data["image"]) / 255)
    image, text, scale = (
        np.float64(x) for x in steps.model.apply(state.params, images, data["tokens"])
    )
    cosine = np.sum(image * text, axis=1)
    logits = scale * image @ text.T
    rows = np.log(np.exp(logits).sum(axis=1))
    columns = np.log(np.exp(logits).sum(axis=0))
    relative = np.diagonal(logits) - (rows + columns) / 2
    for devices in (1, 8):
        np.testing.assert_allclose(found[devices, "cosine"], cosine, atol=1e-5)
        np.testing.assert_allclose(found[devices, "relative"], relative, atol=1e-3)


def test_the_unimodal_stages_differ_by_place_but_repeat():
    steps, state = make(8)
    step = train_step(8, "unimodal", True)
    data = sharding.to_devices(batch(16, 2), steps.mesh)
    copy = lambda: jax.tree.map(jnp.copy, state)  # noqa: E731
    values = [
        float(step(copy(), data, np.float32(1e-3), np.array(place, np.int32))[1]["loss"])
        for place in ((0, 0), (0, 0), (1, 0), (0, 1))
    ]
    assert values[0] == values[1] and len(set(values)) == 3


def test_batches_that_do_not_divide_are_refused():
    with pytest.raises(UserError, match="batch_size=100 does not divide over 8 devices: try 96"):
        sharding.check_batch("batch_size", 100, mesh_of(8))
