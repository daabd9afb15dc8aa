import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from safeclip_jax.data.augment_image import ImageAugmentation
from safeclip_jax.defenses.scores import SCORES
from safeclip_jax.distributed import sharding
from safeclip_jax.errors import UserError
from safeclip_jax.models import clip
from safeclip_jax.objectives import OBJECTIVES, losses
from safeclip_jax.objectives.objective import Settings
from safeclip_jax.training.state import adamw
from safeclip_jax.training.steps import Steps

DEVICES = 8


def mesh_of(devices, fsdp=1):
    return sharding.make_mesh(fsdp, jax.devices()[:devices])


@functools.cache
def steps_on(devices, preset="nano", fsdp=1, remembers=""):
    config = clip.configure(preset, image_size=32, context=8, vocab_size=50, end_id=49)
    config = replace(config, text=replace(config.text, depth=1))
    optimizer, mesh = adamw(0.9, 0.999, 0.1), mesh_of(devices, fsdp)
    settings = Settings(ImageAugmentation(), 64)
    return Steps(clip.CLIP(config), optimizer, settings, mesh, 0, 1, SCORES.get(remembers))


@functools.cache
def train_step(objective, augmented, *layout):
    return steps_on(*layout).train((OBJECTIVES[objective], augmented))


@functools.cache
def first_state(*layout):
    steps = steps_on(*layout)
    return steps.init(16, pairs=24, objectives=OBJECTIVES.values())


def make(*layout):
    """Steps and a state of their own to donate; `layout` is as in `steps_on`."""
    return steps_on(*layout), jax.tree.map(jnp.copy, first_state(*layout))


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


def run(layout, objective, augmented, count=4, rate=1e-4):
    steps, state = make(*layout)
    step = train_step(objective, augmented, *layout)
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


@pytest.mark.slow
def test_running_statistics_are_those_of_the_global_batch_and_only_scoring_uses_them():
    steps, state = make(8, "rn_nano")
    data = batch()
    placed = sharding.to_devices(data, steps.mesh)
    scored = placed | {"tokens": placed["tokens"][:, 0]}
    before = np.asarray(steps.score(SCORES["cosine"], state.variables, scored))
    images = steps.model.config.normalize(np.float32(data["image"]) / 255)
    kernel = np.asarray(state.params["params"]["image"]["stem_1"]["kernel"])
    x = jax.lax.conv_general_dilated(
        images, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    step = train_step("clip", False, 8, "rn_nano")
    new, _ = step(state, placed, np.float32(0), np.zeros(2, np.int32))
    running = new.batch_stats["batch_stats"]["image"]["stem_norm_1"]
    np.testing.assert_allclose(running["mean"], 0.1 * x.mean(axis=(0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(running["var"], 0.9 + 0.1 * x.var(axis=(0, 1, 2)), rtol=1e-4)
    after = np.asarray(steps.score(SCORES["cosine"], new.variables, scored))
    assert np.abs(after - before).max() > 1e-3


@pytest.mark.slow
def test_a_step_remembers_the_scores_that_its_pairs_had_before_it():
    kind = "typical"
    layout = (2, "nano", 1, kind)
    steps, state = make(*layout)
    data = batch(16, 2)
    data["index"] = data["index"][::-1] + 4
    placed = sharding.to_devices(data, steps.mesh)
    plain = placed | {"tokens": placed["tokens"][:, 0]}
    expected = np.asarray(steps.score(SCORES[kind], state.variables, plain))
    place = np.zeros(2, np.int32)
    state, _ = train_step("clip", False, *layout)(state, placed, np.float32(1e-3), place)
    np.testing.assert_allclose(state.remembered[data["index"]], expected, atol=1e-4)
    assert np.isnan(state.remembered[:4]).all() and np.isnan(state.remembered[20:]).all()
    before = np.asarray(state.remembered)
    state, _ = train_step("unimodal", True, *layout)(state, placed, np.float32(1e-3), place)
    np.testing.assert_array_equal(state.remembered, before)


def test_fsdp_splits_parameters_and_moments_over_its_axis():
    state = first_state(4, "nano", 2)
    kernel = state.params["params"]["text"]["transformer"]["block_0"]["mlp_in"]["kernel"]
    moment = state.opt_state[0].mu["params"]["text"]["transformer"]["block_0"]["mlp_in"]["kernel"]
    for array in (kernel, moment):
        assert {s.data.shape for s in array.addressable_shards} == {(64, 128)}
    total = sum(x.nbytes for x in jax.tree.leaves((state.params, state.opt_state)))
    leaves = jax.tree.leaves((state.params, state.opt_state))
    on_one = sum(x.addressable_shards[0].data.nbytes for x in leaves)
    assert on_one < 0.55 * total


@pytest.mark.slow
def test_a_step_is_optax_adamw_on_the_clip_loss():
    steps, state = make(1)
    data = batch()
    images = steps.model.config.normalize(np.float32(data["image"]) / 255)

    def loss(params):
        image, text, scale = steps.model.apply(params, images, data["tokens"][:, 0])
        return losses.clip_loss(image, text, scale)

    initial = steps.model.apply(state.params, method="logit_scale")
    np.testing.assert_allclose(initial, 1 / 0.07, rtol=1e-5)
    mask = jax.tree.map_with_path(
        lambda path, x: x.ndim > 1 and path[-1].key != "bias", state.params
    )
    adamw = optax.adamw(1e-3, b1=0.9, b2=0.999, weight_decay=0.1, mask=mask)
    value, grads = jax.jit(jax.value_and_grad(loss))(state.params)
    updates, _ = adamw.update(grads, adamw.init(state.params), state.params)
    expected = optax.apply_updates(state.params, updates)
    data = sharding.to_devices(data, steps.mesh)
    new, metrics = train_step("clip", False, 1)(
        state, data, np.float32(1e-3), np.zeros(2, np.int32)
    )
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    np.testing.assert_allclose(metrics["grad_norm"], optax.tree.norm(grads), rtol=1e-3)
    assert_close(new.params, expected, 2e-4)


def test_a_step_that_looks_at_the_captions_alone_is_the_whole_step():
    data = batch(16)
    data["tokens"][:, :, 4:] = 0
    data["tokens"][:, :, 3] = 49
    found = []
    whole = train_step("clip", False, 1)
    for step in (whole, steps_on(1).train((OBJECTIVES["clip"], False), 4)):
        steps, state = make(1)
        placed = sharding.to_devices(data, steps.mesh)
        state, metrics = step(state, placed, np.float32(1e-4), np.zeros(2, np.int32))
        found.append((float(metrics["loss"]), float(metrics["grad_norm"]), state))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-6)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-4)
    assert_close(found[0][2].params, found[1][2].params, 1e-4)


def test_only_matrices_decay():
    optimizer = adamw(0.9, 0.999, 0.5)
    _, state = make(1)
    zero = jax.tree.map(jnp.zeros_like, state.params)
    updates, _ = optimizer.update(zero, optimizer.init(state.params), state.params)
    for path, update in jax.tree.leaves_with_path(updates):
        name = jax.tree_util.keystr(path)
        decays = not any(word in name for word in ("bias", "scale", "class_token"))
        assert bool(jnp.any(update != 0)) == decays, name


@pytest.mark.slow
def test_a_non_finite_step_changes_nothing_but_the_count():
    steps, state = make(8)
    before = jax.tree.map(np.asarray, state)
    broken = state.replace(
        params=jax.tree.map_with_path(
            lambda path, x: x * jnp.nan if "log_scale" in str(path) else x, state.params
        )
    )
    data = sharding.to_devices(batch(16, 2), steps.mesh)
    step = train_step("unimodal", True, 8)
    after, metrics = step(broken, data, np.float32(1e-3), np.zeros(2, np.int32))
    assert int(after.skipped) == int(metrics["skipped_in_a_row"]) == 1
    np.testing.assert_array_equal(after.kept["image_bank"].rows, before.kept["image_bank"].rows)
    np.testing.assert_array_equal(
        after.params["params"]["text_projection"]["kernel"],
        before.params["params"]["text_projection"]["kernel"],
    )
    healthy = after.replace(params=before.params)
    after, metrics = step(healthy, data, np.float32(1e-3), np.zeros(2, np.int32))
    assert int(after.skipped) == 1 and int(metrics["skipped_in_a_row"]) == 0


def test_unimodal_fills_the_banks_and_clip_leaves_them():
    state, _ = run((8,), "unimodal", True, count=3)
    assert int(state.kept["image_bank"].next) == int(state.kept["text_bank"].next) == 3
    _, fresh = make(8)
    assert np.allclose(state.kept["image_bank"].rows[3:], fresh.kept["image_bank"].rows[3:])
    assert not np.allclose(state.kept["image_bank"].rows[:3], fresh.kept["image_bank"].rows[:3])
    state, _ = run((8,), "clip", True, count=3)
    np.testing.assert_array_equal(state.kept["image_bank"].rows, fresh.kept["image_bank"].rows)


def test_scores_equal_numpy_and_do_not_depend_on_devices():
    data = batch(16)
    data["tokens"] = data["tokens"][:, 0]
    found = {}
    for devices in (1, 8):
        steps, state = make(devices)
        on_devices = sharding.to_devices(data, steps.mesh)
        for kind in SCORES:
            found[devices, kind] = np.asarray(
                steps.score(SCORES[kind], state.variables, on_devices)
            )
    images = steps.model.config.normalize(np.float32(data["image"]) / 255)
    image, text, scale = (
        np.float64(x) for x in jax.jit(steps.model.apply)(state.variables, images, data["tokens"])
    )
    cosine = np.sum(image * text, axis=1)
    logits = scale * image @ text.T
    rows = np.log(np.exp(logits).sum(axis=1))
    columns = np.log(np.exp(logits).sum(axis=0))
    relative = 1 + (np.diagonal(logits) - (rows + columns) / 2) / np.log(16)
    guess = np.exp(logits - columns)
    entropy = -np.sum(guess * np.log(guess), axis=0)
    typical = 1 + (np.log(np.diagonal(guess)) + entropy) / np.log(16)
    for devices in (1, 8):
        np.testing.assert_allclose(found[devices, "cosine"], cosine, atol=1e-5)
        np.testing.assert_allclose(found[devices, "relative"], relative, atol=1e-3)
        np.testing.assert_allclose(found[devices, "typical"], typical, atol=1e-3)


@pytest.mark.parametrize("devices, size", [(1, 512), (2, 1024), (2, 800)])
def test_large_batches_are_embedded_as_small_ones(devices, size):
    steps, state = make(devices)
    images, tokens = batch(size)["image"], batch(size)["tokens"][:, 0]
    for inputs, embed in ((images, steps.embedder.images), (tokens, steps.embedder.texts)):
        whole = embed(state.variables, inputs, size)
        small = embed(state.variables, inputs, 80)
        np.testing.assert_allclose(whole, small, atol=1e-6)
        assert np.abs(whole[1:] - whole[:-1]).max(axis=1).min() > 1e-5


def test_the_unimodal_stages_differ_by_place_but_repeat():
    steps, state = make(8)
    step = train_step("unimodal", True, 8)
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
