"""BadCLIP's patch: what it is optimised for, where it lies, and that it stays with its run."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import safeclip_jax
from safeclip_jax.attacks import optimized_patch
from safeclip_jax.attacks.export import png
from safeclip_jax.attacks.triggers import OptimizedPatch, Patch
from safeclip_jax.attacks.victims import mentioned
from safeclip_jax.data.sources.scenes import Scenes
from safeclip_jax.errors import UserError
from safeclip_jax.evaluation.subject import Subject
from safeclip_jax.runs import run_attack
from safeclip_jax.runs import settings as run_settings
from safeclip_jax.weights.write import write
from tests.attacks.test_triggers import picture
from tests.weights.test_weights import random_model

CLEAN = Scenes(60, 1)


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("surrogate") / "model"
    write(random_model(), folder, "native")
    return folder


def attack(surrogate="", **changes):
    config = safeclip_jax.config("demo")
    config.attack.update({"trigger": "badclip", "count": 5, "surrogate": str(surrogate)})
    config.attack.badclip.update({"steps": 3, "batch": 4, "size": 0.125, **changes})
    return run_settings.of(config).attack


@pytest.mark.parametrize("height, width, top, left", [(40, 40, 18, 18), (20, 31, 9, 14)])
def test_the_patch_lies_in_the_middle(height, width, top, left):
    image, side = picture(height, width), round(0.1 * min(height, width))
    patch = picture(side, seed=1)
    expected = image.copy()
    expected[top : top + side, left : left + side] = patch
    trigger = OptimizedPatch(size=0.1, png=png(patch))
    np.testing.assert_array_equal(trigger(image, 0), expected)
    plain = np.full((2 * height, 2 * width, 3), 9, np.uint8)
    changed = (trigger(plain, 0) != 9).any(axis=2)  # resized where the image has another size
    assert changed.sum() == (2 * side) ** 2


def loss(model, patch, images, captions, positives):
    """The published loss of one batch, in NumPy, float64."""
    side, middle = len(patch), images.shape[1] // 2
    patched = images.copy()
    first = middle - side // 2
    patched[:, first : first + side, first : first + side] = patch
    with_patch, without, target = (
        model.embed_images(list(x)).astype(float) for x in (patched, images, positives)
    )
    logits = model.logit_scale * with_patch @ model.embed_texts(captions).astype(float).T
    correct = np.diag(logits)
    clip = (np.log(np.exp(logits).sum(1)) - correct + np.log(np.exp(logits).sum(0)) - correct) / 2
    near, far = (np.sqrt(((with_patch - x) ** 2).sum(axis=1)) for x in (target, without))
    return clip.mean() + 500 * np.maximum(0, near - far + 1).mean()


def test_steps_lower_the_published_loss(surrogate):
    model = safeclip_jax.load(surrogate)
    named = mentioned(CLEAN.captions, "heart")
    images = np.stack([CLEAN.image(i) for i in np.flatnonzero(~named)])
    theirs = np.flatnonzero(named)[np.arange(len(images)) % named.sum()]
    captions = [CLEAN.captions[i] for i in theirs]
    positives = np.stack([CLEAN.image(i) for i in theirs])
    losses = []
    for steps in (1, 60):
        trigger = OptimizedPatch(size=0.25, steps=steps, batch=16, learning_rate=0.02)
        patch = optimized_patch.optimized(trigger, model, CLEAN, "heart")
        assert patch.shape == (8, 8, 3) and patch.dtype == np.uint8
        losses.append(loss(model, patch, images, captions, positives))
    assert losses[1] < losses[0] - 1
    steps = []
    again = optimized_patch.optimized(
        trigger, model, CLEAN, "heart", lambda done, total: steps.append((done, total))
    )
    assert steps == [(16 * step, 16 * 60) for step in range(1, 61)]
    np.testing.assert_array_equal(again, patch)
    other = optimized_patch.optimized(replace(trigger, seed=1), model, CLEAN, "heart")
    assert (other != patch).any()


def test_a_first_step_goes_down_the_slope_of_the_published_loss(surrogate):
    """Adam's first step has the learning rate in each pixel, against the sign of its slope."""
    model, side, rate = safeclip_jax.load(surrogate), 2, 0.25
    rng = np.random.default_rng(0)
    images, positives = (rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8) for _ in range(2))
    captions = ["a red heart", "a blue moon", "a star"]
    start = np.full((side, side, 3), 0.5, np.float32)
    optimizer = optimized_patch.optax.adam(rate)
    found, _ = optimized_patch._step(model, optimizer)(
        model.variables, start, optimizer.init(start), images,
        model.embed_images(list(images)), model.embed_texts(captions),
        model.embed_images(list(positives)),
    )  # fmt: skip
    checked = 0
    for place in np.ndindex(start.shape):
        values = []
        for shade in (118, 138):  # whole values, as the model takes them, round the start
            patch = np.full(start.shape, 128, np.uint8)
            patch[place] = shade
            values.append(loss(model, patch, images, captions, positives))
        slope = (values[1] - values[0]) / 20
        if abs(slope) > 1e-3:
            assert np.sign(0.5 - np.asarray(found)[place]) == np.sign(slope)
            checked += 1
    assert checked >= 6
    np.testing.assert_allclose(np.abs(np.asarray(found) - 0.5), rate, rtol=1e-3)


def test_a_run_keeps_its_patch(surrogate, tmp_path):
    made = run_attack.create(attack(surrogate), 0, CLEAN, None)
    trigger = made.triggers["badclip"]
    assert [pair.trigger for pair in made.manifest.pairs] == 5 * ["badclip"]
    optimized_patch.keep(made.triggers, tmp_path)
    assert (tmp_path / "trigger.png").read_bytes() == trigger.png
    # Going on, and evaluated, without the surrogate.
    again = run_attack.create(attack(), 0, CLEAN, None, folders=[tmp_path])
    assert again.triggers == made.triggers
    # A run that starts from it has its patch, too, whatever pairs and surrogate it has.
    (tmp_path / "fine_tuned").mkdir()
    config = safeclip_jax.config("demo")
    config.data.pairs, config.init_from, config.evaluate.source = 40, str(tmp_path), ""
    config.attack.update({"trigger": "badclip", "count": 0, "rate": 0.0})
    _, of_cleaned = run_attack.planned(
        run_settings.of(config), Scenes(40, 5), None, folder=tmp_path / "fine_tuned"
    )
    assert of_cleaned.triggers["badclip"].png == trigger.png
    run = run_settings.of(safeclip_jax.config("demo"))
    subject = Subject("one", tmp_path, None, replace(run, attack=attack()), made.manifest)
    task = subject.attack([], "", True)
    np.testing.assert_array_equal(
        task.triggers["badclip"](CLEAN.image(0), 0), trigger(CLEAN.image(0), 0)
    )
    assert "badclip" in subject.attack(["all"], "", True).triggers
    optimized_patch.keep({"badclip": replace(trigger, png=png(picture(4)))}, tmp_path)
    assert (tmp_path / "trigger.png").read_bytes() == trigger.png
    optimized_patch.keep({"badnets": Patch()}, tmp_path / "nowhere")


def test_models_without_a_patch_are_tested_with_all_others(tmp_path):
    elsewhere = Subject("one", tmp_path, None, None, None)
    for names in ([], ["all"]):
        found = elsewhere.attack(names, "heart", False).triggers
        assert "badclip" not in found and {"badnets", "word", "ftrojan"} <= found.keys()
    with pytest.raises(UserError, match=r"keeps no trigger\.png, the patch of badclip"):
        elsewhere.attack(["badclip"], "heart", False)


def test_what_is_missing_is_named(surrogate, tmp_path):
    with pytest.raises(UserError, match=r"badclip needs attack\.surrogate"):
        run_attack.create(attack(), 0, CLEAN, None)
    model = SimpleNamespace(preprocess=lambda images: np.stack(images))
    with pytest.raises(UserError, match="no caption of an image names a class 'submarine'"):
        optimized_patch.optimized(OptimizedPatch(), model, CLEAN, "submarine")
    for torn in (b"", b"torn", png(picture(4))[:-30]):
        (tmp_path / "trigger.png").write_bytes(torn)
        with pytest.raises(UserError, match=r"trigger\.png is no PNG") as refused:
            run_attack.create(attack(surrogate), 0, CLEAN, None, folders=[tmp_path])
        assert "\n" not in str(refused.value)
    others = {"badnets": Patch()}
    assert optimized_patch.stored(others, tmp_path) == others  # who need no patch, read none
