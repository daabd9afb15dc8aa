"""PAR: its loss and its steps against float64 and differences."""

import jax
import numpy as np
import optax
import pytest

from safeclip_jax.defenses.par import PAR
from safeclip_jax.distributed import sharding
from safeclip_jax.errors import UserError
from safeclip_jax.objectives.perturbed import Perturbed
from safeclip_jax.training.steps import Steps
from tests.objectives.test_objectives import settings
from tests.support.small_model import CONFIG, SmallModel, embedded
from tests.training.test_small_steps import BATCH, PLACE, SETTINGS, batch, plain

RATE = 0.3


def log_softmax(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def reference(image, text, first_image, first_text, scale, limit):
    logits = scale * image @ text.T
    clip = -(np.diagonal(log_softmax(logits)) + np.diagonal(log_softmax(logits.T))).mean() / 2
    for now, first in ((image, first_image), (text, first_text)):
        moved = np.mean(np.sum((now - first) ** 2, axis=1))
        clip -= 0.5 * moved * (moved <= limit)
    return clip


@pytest.mark.parametrize("limit, counted", [(4.1, 2), (1.0, 1), (0.01, 0)])
def test_embeddings_are_pushed_until_they_are_far_enough(limit, counted):
    rng = np.random.default_rng(0)
    image, text, others = rng.standard_normal((3, 6, 5))
    image, text, others = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text, others)
    )
    near = text + 0.3 * others
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    moved = [np.mean(np.sum((a - b) ** 2, axis=1)) for a, b in ((image, others), (text, near))]
    assert sum(m <= limit for m in moved) == counted
    loss, state = Perturbed(limit).loss(
        [(image, text), (others, near)], jax.numpy.float32(3), {"a": 1}, settings()
    )
    expected = reference(image, text, others, near, 3, limit)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert state == {"a": 1}


@pytest.mark.parametrize("parts", [1, 2])
def test_steps_move_away_from_the_first_model_alone(parts):
    made = Steps(SmallModel(), optax.identity(), SETTINGS, sharding.make_mesh(), 7, parts)
    objective = Perturbed(3.0)
    given = jax.tree.map(np.asarray, made.init(BATCH, 0, [objective]).variables)
    given["params"]["kernel"] = given["params"]["kernel"] + 0.5
    state = made.init(BATCH, 0, [objective]).starting_from(given)
    first, step = plain(given), made.train((objective, False))
    for number in range(2):
        data, before = batch(number, 1), plain(state.params)
        images = np.float64(data["image"]) / 255
        images = (images - np.array(CONFIG.mean)) / np.array(CONFIG.std)

        scale = np.exp(before["log_scale"])

        def loss_of(params, images=images, tokens=data["tokens"][:, 0], scale=scale):
            now = np.zeros((2, BATCH, 4))
            for part in range(parts):
                mine = slice(part, None, parts)
                now[0][mine], now[1][mine], _ = embedded(params, images[mine], tokens[mine])
            start = embedded(first, images, tokens, np.zeros(3))[:2]
            return reference(*now, *start, scale, 3.0)

        state, metrics = step(state, data, np.float32(RATE), PLACE)
        np.testing.assert_allclose(metrics["loss"], loss_of(before), rtol=1e-5)
        after = plain(state.params)
        rng = np.random.default_rng(number)
        for name in ("kernel", "words"):
            way = rng.standard_normal(before[name].shape)
            up, down = (
                loss_of(before | {name: before[name] + sign * 1e-6 * way}) for sign in (1, -1)
            )
            slope = np.sum((before[name] - after[name]) / RATE * way)
            np.testing.assert_allclose(slope, (up - down) / 2e-6, rtol=1e-2, atol=1e-4)
        assert after["log_scale"] == before["log_scale"]
        kept = state.kept["anchor"]
        np.testing.assert_array_equal(kept["params"]["kernel"], given["params"]["kernel"])
        np.testing.assert_array_equal(kept["batch_stats"]["color"]["mean"], np.zeros(3))


def test_par_needs_a_model_and_trusted_pairs():
    (stage,) = PAR().stages(0)
    assert stage.objective == Perturbed(2.15) and not stage.augment
    with pytest.raises(UserError, match="defense=par fine-tunes a finished run: set init_from"):
        PAR().check("", False)
    with pytest.raises(UserError, match=r"defense=par trains on trusted pairs"):
        PAR().check("runs/x", True)
    PAR().check("runs/x", False)
