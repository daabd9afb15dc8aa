"""A train step of every objective against a statement of its own in NumPy, float64.

The optimizer passes gradients on as they are and the rate is 1: parameters before a step, less
those after it, are its gradients. Parameters are far from the initial ones, with which all pictures
embed alike and gradients drown in rounding.
"""

import functools
from dataclasses import replace

import jax
import numpy as np
import optax
import pytest

from safeclip_jax.data.augment_image import ImageAugmentation, augment
from safeclip_jax.distributed import sharding
from safeclip_jax.models import clip
from safeclip_jax.objectives import OBJECTIVES
from safeclip_jax.objectives.chunked import Chunks
from safeclip_jax.objectives.clip_and_unimodal import ClipAndUnimodal
from safeclip_jax.objectives.objective import Settings
from safeclip_jax.training.steps import Steps
from tests.support import noise

DEVICES = 8
BATCH, BANK, SEED, EPOCH, STAGE, WEIGHT = 16, 64, 7, 3, 1, 0.5
NANO = clip.configure("nano", image_size=32, context=8, vocab_size=50, end_id=49)
MODEL = replace(NANO, image=replace(NANO.image, stem=()))
ALL = {**OBJECTIVES, "clip_and_unimodal": ClipAndUnimodal(weight=WEIGHT)}

# Objective, whether the stage augments: which views of a pair are augmented.
AUGMENTED_VIEWS = {
    ("clip", False): [False],
    ("clip", True): [True],
    ("unimodal", False): [True, True],
    ("bank_matched", True): [True],
    ("clip_and_unimodal", False): [False, True],
    ("crosswise", True): [True, True],
}
# Devices, fsdp, chunk (banks are split over the devices, too), micro-batches.
LAYOUTS = {
    "1 device": (1, 1, 0, 1),
    "8 devices": (8, 1, 0, 1),
    "1 device, chunks, parts": (1, 1, 8, 4),
    "2 devices, fsdp, parts": (2, 2, 0, 2),
    "4 devices, fsdp of 2, chunks": (4, 2, 4, 1),
}


def info_nce(queries, targets, scale):
    """Mean over i of −log softmax_j(scale · q_i · t_j) at i, and its slopes in all three."""
    cosines = queries @ targets.T
    odds = np.exp(scale * cosines - (scale * cosines).max(axis=1, keepdims=True))
    shares = odds / odds.sum(axis=1, keepdims=True)
    excess = (shares - np.eye(len(shares))) / len(shares)
    loss = -np.log(np.diagonal(shares)).mean()
    return loss, scale * excess @ targets, scale * excess.T @ queries, np.sum(excess * cosines)


def both_ways(images, texts, scale):
    loss, of_images, of_texts, of_scale = info_nce(images, texts, scale)
    loss_b, of_texts_b, of_images_b, of_scale_b = info_nce(texts, images, scale)
    return (
        (loss + loss_b) / 2,
        (of_images + of_images_b) / 2,
        (of_texts + of_texts_b) / 2,
        (of_scale + of_scale_b) / 2,
    )


def nearest(bank, queries):
    return bank[np.argmax(queries @ bank.T, axis=1)]


def clip_reference(views, scale, banks):
    ((images, texts),) = views
    loss, of_images, of_texts, of_scale = both_ways(images, texts, scale)
    return loss, [(of_images, of_texts)], of_scale, {}


def unimodal_reference(views, scale, banks):
    loss, of_scale, slopes = 0, 0, []
    for a, b, bank in zip(*views, (banks["image_bank"], banks["text_bank"]), strict=True):
        one, of_b, _, scale_slope = info_nce(b, nearest(bank, a), scale)
        loss, of_scale = loss + one / 2, of_scale + scale_slope / 2
        slopes.append(of_b / 2)
    nothing = tuple(np.zeros_like(x) for x in slopes)
    taken_in = {"image_bank": views[0][0], "text_bank": views[0][1]}
    return loss, [nothing, tuple(slopes)], of_scale, taken_in


def bank_matched_reference(views, scale, banks):
    ((images, texts),) = views
    found = nearest(banks["text_bank"], images)
    loss, of_images, _, of_scale = both_ways(images, found, scale)
    return loss, [(of_images, np.zeros_like(texts))], of_scale, {"text_bank": texts}


def clip_and_unimodal_reference(views, scale, banks):
    (images, texts), (image_views, text_views) = views
    loss, of_images, of_texts, of_scale = both_ways(images, texts, scale)
    slopes, half = [[of_images, of_texts], []], WEIGHT / 2
    for place, pair in enumerate(((images, image_views), (texts, text_views))):
        one, of_first, of_second, scale_slope = info_nce(*pair, scale)
        loss, of_scale = loss + half * one, of_scale + half * scale_slope
        slopes[0][place] = slopes[0][place] + half * of_first
        slopes[1].append(half * of_second)
    return loss, slopes, of_scale, {}


def crosswise_reference(views, scale, banks):
    (images, texts), (image_views, text_views) = views
    loss, of_images, of_text_views, of_scale = info_nce(images, text_views, scale)
    loss_b, of_texts, of_image_views, of_scale_b = info_nce(texts, image_views, scale)
    slopes = [(of_images / 2, of_texts / 2), (of_image_views / 2, of_text_views / 2)]
    return (loss + loss_b) / 2, slopes, (of_scale + of_scale_b) / 2, {}


REFERENCES = {
    "crosswise": crosswise_reference,
    "clip": clip_reference,
    "unimodal": unimodal_reference,
    "bank_matched": bank_matched_reference,
    "clip_and_unimodal": clip_and_unimodal_reference,
}


@functools.cache
def augmented():
    return jax.jit(lambda images, keys: augment(images, keys, ImageAugmentation()))


@functools.cache
def towers():
    """Embeddings of several views and the scale; and what passes slopes in them on."""
    model = clip.CLIP(MODEL)

    def embed(params, views):
        found = [model.apply(params, *view) for view in views]
        return [(image, text) for image, text, _ in found], found[0][2]

    def pull(params, views, slopes):
        return jax.vjp(lambda params: embed(params, views), params)[1](slopes)[0]

    return jax.jit(embed), jax.jit(pull)


def views_of(data, changed):
    """Normalised images and tokens of each view of the batch."""
    mean, std = np.float32(MODEL.mean), np.float32(MODEL.std)
    fold, made = jax.random.fold_in, []
    for view, is_augmented in enumerate(changed):
        images = np.float32(data["image"]) / np.float32(255)
        if is_augmented:
            keys = [fold(fold(fold(jax.random.key(SEED), EPOCH), STAGE), i) for i in data["index"]]
            if len(changed) > 1:
                keys = [fold(key, view) for key in keys]
            images = augmented()(images, jax.numpy.stack(keys))
        made.append(((images - mean) / std, data["tokens"][:, view]))
    return made


def expected(objective, changed, params, banks, data):
    """Loss, gradients and what the banks take in."""
    embed, pull = towers()
    views = views_of(data, changed)
    embedded, scale = jax.tree.map(np.float64, embed(params, views))
    loss, slopes, of_scale, taken_in = REFERENCES[objective](embedded, scale, banks)
    slopes = jax.tree.map(np.float32, ([tuple(pair) for pair in slopes], of_scale))
    return loss, pull(params, views, slopes), taken_in


@functools.cache
def steps_on(devices, fsdp, chunk, parts):
    mesh = sharding.make_mesh(fsdp, jax.devices()[:devices])
    chunks = Chunks(chunk, mesh, True) if chunk else None
    settings = Settings(ImageAugmentation(), BANK, chunks)
    model = clip.CLIP(MODEL, remat="blocks" if parts > 1 else "none", scan=parts > 1)
    return Steps(model, optax.identity(), settings, mesh, SEED, parts)


def state_of(steps, objective):
    """Parameters and banks of noise, so that inputs differ; nothing has to be compiled."""
    state = noise.like(jax.eval_shape(lambda: steps.init(BATCH, 0, [objective])))
    for name, bank in state.kept.items():
        rows = bank.rows / np.linalg.norm(bank.rows, axis=-1, keepdims=True)
        state.kept[name] = bank.replace(rows=rows)
    split_banks = steps.settings.chunks is not None
    return jax.device_put(state, sharding.of_state(state, steps.mesh, split_banks))


def batch(seed, views):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 49, (BATCH, views, 8), dtype=np.int32)
    tokens[:, :, -1] = 49
    return {
        "index": rng.permutation(100)[:BATCH].astype(np.int32),
        "image": rng.integers(0, 256, (BATCH, 32, 32, 3), dtype=np.uint8),
        "tokens": tokens,
    }


CASES = [
    *((*kind, "1 device") for kind in AUGMENTED_VIEWS),
    ("clip_and_unimodal", False, "1 device, chunks, parts"),
    *(
        pytest.param(*case, marks=pytest.mark.slow)
        for case in (
            *(("unimodal", False, layout) for layout in LAYOUTS if layout != "1 device"),
            ("clip", True, "4 devices, fsdp of 2, chunks"),
            ("bank_matched", True, "4 devices, fsdp of 2, chunks"),
        )
    ),
]


@pytest.mark.parametrize("name, augments, layout", CASES)
def test_two_steps_are_those_of_the_plain_statement(name, augments, layout):
    steps, changed = steps_on(*LAYOUTS[layout]), AUGMENTED_VIEWS[name, augments]
    state, step = state_of(steps, ALL[name]), steps.train((ALL[name], augments))
    banks = {key: np.float64(bank.rows).reshape(BANK, -1) for key, bank in state.kept.items()}
    for number in range(2):
        data, before = batch(number, len(changed)), jax.tree.map(np.asarray, state.params)
        loss, gradients, taken_in = expected(name, changed, before, banks, data)
        placed = sharding.to_devices(data, steps.mesh)
        state, metrics = step(state, placed, np.float32(1), np.array([EPOCH, STAGE], np.int32))
        np.testing.assert_allclose(metrics["loss"], loss, rtol=2e-5)
        assert_gradients(before, state.params, gradients, float(metrics["grad_norm"]))
        assert banks.keys() == state.kept.keys() == taken_in.keys()
        for key, bank in state.kept.items():
            banks[key][number * BATCH : (number + 1) * BATCH] = taken_in[key]
            np.testing.assert_allclose(bank.rows.reshape(BANK, -1), banks[key], atol=1e-5)
            assert int(bank.next) == number + 1
        assert int(state.skipped) == 0


def assert_gradients(before, after, expected, grad_norm):
    norm = np.sqrt(sum(np.sum(np.square(np.float64(g))) for g in jax.tree.leaves(expected)))
    np.testing.assert_allclose(grad_norm, norm, rtol=1e-3)
    leaves = jax.tree.leaves_with_path(expected)
    for (path, gradient), old, new in zip(
        leaves, jax.tree.leaves(before), jax.tree.leaves(after), strict=True
    ):
        atol = 1e-3 * np.abs(gradient).max() + 1e-4 * norm
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(old - new, gradient, rtol=0, atol=atol, err_msg=name)
