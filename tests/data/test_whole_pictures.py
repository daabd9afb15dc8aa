"""Crops of whole pictures: torchvision's boxes, Pillow's pixels, and a step that takes them."""

import math
import random

import jax
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from safeclip_jax.attacks.manifest import Manifest, PoisonedPair
from safeclip_jax.attacks.poisoned_source import PoisonedSource
from safeclip_jax.data import augment_image, tokenizer
from safeclip_jax.data.augment_image import ImageAugmentation
from safeclip_jax.data.decode import Resized, fit, squeeze
from safeclip_jax.data.pipeline import ImageReader, Loader, PictureReader
from safeclip_jax.data.skipped import SkippedRecords
from safeclip_jax.data.sources.base import Columns, Source
from safeclip_jax.distributed import sharding
from safeclip_jax.errors import BadRecord
from safeclip_jax.objectives.clip import CLIP
from safeclip_jax.objectives.objective import Settings
from safeclip_jax.training.state import adamw
from safeclip_jax.training.steps import Steps
from tests.support.small_model import SmallModel

MANY = 4000
WHOLE = 24


def torchvisions_box(height, width, area, aspect, rng):
    """`RandomResizedCrop.get_params`, in shares of the picture: top, left, height, width."""
    for _ in range(10):
        target = height * width * rng.uniform(*area)
        ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        w, h = math.sqrt(target * ratio), math.sqrt(target / ratio)
        if w <= width and h <= height:
            top, left = rng.uniform(0, height - h), rng.uniform(0, width - w)
            return top / height, left / width, h / height, w / width
    ratio = width / height
    h, w = height, width
    if ratio < aspect[0]:
        h = width / aspect[0]
    elif ratio > aspect[1]:
        w = height * aspect[1]
    return (height - h) / 2 / height, (width - w) / 2 / width, h / height, w / width


@pytest.mark.parametrize("height, width", [(100, 100), (90, 200), (300, 100), (50, 600)])
def test_boxes_are_torchvisions(height, width):
    strength = ImageAugmentation(crop_area=(0.3, 1.0))
    rng = random.Random(0)
    theirs = np.array(
        [
            torchvisions_box(height, width, strength.crop_area, strength.crop_aspect, rng)
            for _ in range(MANY)
        ]
    )
    keys = jax.random.split(jax.random.key(1), MANY)
    aspect = np.full(MANY, width / height, np.float32)
    starts, sizes = augment_image.crop_boxes(keys, strength, aspect)
    ours = np.float64(np.concatenate([starts, sizes], axis=1))
    assert ours.min() >= -1e-6 and (ours[:, :2] + ours[:, 2:]).max() <= 1 + 1e-6
    for column in range(4):
        test = stats.ks_2samp(np.round(theirs[:, column], 3), np.round(ours[:, column], 3))
        assert test.pvalue > 1e-4


def picture(height, width):
    """Smooth, and of another colour in each place."""
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(x / 40), np.cos(y / 30), np.sin((x + y) / 50)], axis=2)
    return np.uint8(127 + 100 * waves)


@pytest.mark.parametrize("height, width", [(200, 320), (320, 200), (256, 256)])
def test_the_middle_of_a_squeezed_picture_is_the_centre_crop(height, width):
    image = picture(height, width)
    whole, aspect = squeeze(image, 256)
    assert aspect == width / height
    np.testing.assert_array_equal(whole, Image.fromarray(image).resize((256, 256), 3))
    middle = augment_image.centre_square(whole[None].astype(np.float32), np.float32([aspect]), 224)[
        0
    ]
    assert np.abs(middle - fit(image, 224)).max() < 4


def test_a_crop_of_a_squeezed_picture_is_pillows_crop_of_the_picture():
    image = picture(200, 400)
    whole, _ = squeeze(image, 256)
    box = np.array([[0.1, 0.05]]), np.array([[0.6, 0.45]])
    ours = augment_image.resized_crop(whole[None].astype(np.float32), *box, np.array([False]), 128)[
        0
    ]
    edges = (0.05 * 400, 0.1 * 200, 0.5 * 400, 0.7 * 200)
    theirs = np.asarray(Image.fromarray(image).resize((128, 128), 2, edges), np.float32)
    assert np.abs(ours - theirs)[2:-2, 2:-2].max() < 4


class Wide(Source):
    """Pictures of 20 × 60 whose middle third is black; the fourth cannot be read."""

    def __init__(self):
        names = [f"{i}" for i in range(12)]
        super().__init__(Columns([f"a red thing {name}" for name in names], names))

    def image(self, index):
        if index == 3:
            raise BadRecord("torn")
        image = np.full((20, 60, 3), 200, np.uint8)
        image[:, 20:40] = 0
        return image


def loader(source):
    words = tokenizer.train(source.captions, 300, 8)
    skipped = SkippedRecords(source, 1.0)
    readers = ImageReader(source, 8, 0), PictureReader(source, WHOLE)
    return Loader(source.captions, readers[0], words, skipped, 5, 1, pictures=readers[1])


def test_augmented_stages_get_whole_pictures_and_plain_ones_their_centres():
    source = loader(Resized(Wide(), 8))
    (plain,) = source.training_batches(np.arange(12), 12, (0, 0), (False,))
    assert plain["image"].shape == (12, 8, 8, 3) and plain["image"].max() < 40
    assert "aspect" not in plain
    (whole,) = source.training_batches(np.arange(12), 12, (0, 0), (False, True))
    assert whole["image"].shape == (12, WHOLE, WHOLE, 3)
    assert 3 not in whole["index"] and source.skipped.reasons == {3: "torn"}
    np.testing.assert_array_equal(whole["aspect"], np.float32(3))
    expected = squeeze(Wide().image(0), WHOLE)[0]
    np.testing.assert_array_equal(whole["image"], np.broadcast_to(expected, (12, *expected.shape)))


def test_a_poison_is_its_changed_square():
    manifest = Manifest("backdoor", "red", (PoisonedPair(5, "5", "dot", "", "a", "a red"),))

    def change(pair, image):
        image = image.copy()
        image[-2:, -2:] = 255
        return image

    source = PoisonedSource(Resized(Wide(), 8), manifest, change)
    changed, aspect = source.picture(5, WHOLE)
    assert aspect == 1 and changed[-2, -2].min() > 240 and changed[:8].max() < 40
    clean = Resized(Wide(), 8)
    same = PoisonedSource(clean, manifest, change, lambda pair: True)
    for one, other in zip(same.picture(5, WHOLE), clean.picture(5, WHOLE), strict=True):
        np.testing.assert_array_equal(one, other)
    honest, aspect = source.picture(4, WHOLE)
    assert aspect == 3 and honest[0, 0].min() > 190


@pytest.mark.parametrize("parts", [1, 2])
def test_a_step_takes_them(parts):
    settings = Settings(ImageAugmentation(picture_size=WHOLE), image_size=8)
    mesh = sharding.make_mesh()
    steps = Steps(SmallModel(), adamw(0.9, 0.99, 0.1), settings, mesh, 0, parts)
    source = Resized(Wide(), 8)
    made = loader(source).training_batches(np.arange(12), 8, (0, 0), (True,))
    batch = next(iter(made))
    batch["tokens"] = np.minimum(batch["tokens"], 3)[:, :, : steps.model.config.text.context]
    state = steps.init(8)
    lowered = steps.lower_train((CLIP, True), state, 8).compile()
    _, metrics = lowered(state, batch, np.float32(0.1), np.zeros(2, np.int32))
    assert np.isfinite(float(metrics["loss"]))
