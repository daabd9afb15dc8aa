"""Train steps of a small model against float64 and differences: all that a step returns."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from safeclip_jax.data.augment_image import ImageAugmentation
from safeclip_jax.defenses.scores import SCORES
from safeclip_jax.distributed import sharding
from safeclip_jax.objectives import losses
from safeclip_jax.objectives import objective as objectives
from safeclip_jax.objectives.bank import Bank
from safeclip_jax.objectives.clip import CLIP
from safeclip_jax.objectives.objective import Objective, Settings
from safeclip_jax.training.state import adamw
from safeclip_jax.training.steps import Steps
from tests.objectives.test_objectives import ALL, reference
from tests.support.small_model import CONFIG, CONTEXT, MOMENTUM, VOCABULARY, SmallModel, embedded

BATCH, BANK, PAIRS, SEED, EPOCH, STAGE, RATE = 8, 24, 30, 7, 3, 1, 0.5
PLACE = np.array([EPOCH, STAGE], np.int32)
ADAMW = adamw(0.8, 0.95, 0.3)
SETTINGS = Settings(ImageAugmentation(), BANK)


@functools.cache
def steps(parts=1, remembers=None, optimizer=None, seed=SEED):
    optimizer = optax.identity() if optimizer is None else optimizer
    mesh = sharding.make_mesh()
    return Steps(SmallModel(), optimizer, SETTINGS, mesh, seed, parts, SCORES.get(remembers))


def batch(seed, views):
    rng = np.random.default_rng(seed)
    return {
        "index": rng.permutation(PAIRS)[:BATCH].astype(np.int32),
        "image": rng.integers(0, 256, (BATCH, 8, 8, 3), dtype=np.uint8),
        "tokens": rng.integers(0, VOCABULARY, (BATCH, views, CONTEXT), dtype=np.int32),
    }


def dimmed(images, keys, strength, size, aspect):
    """In place of the augmentation: as dark as a pair's key says."""
    assert strength == SETTINGS.augmentation
    return images * jax.vmap(jax.random.uniform)(keys)[:, None, None, None]


def seen(data, objective, augmented, length):
    """Normalised images and tokens of each view."""
    made = []
    for view, changed in enumerate(objective.caption_views(augmented)):
        pixels = np.float64(data["image"]) / 255
        if changed:
            key = jax.random.key(SEED)
            for number in (EPOCH, STAGE):
                key = jax.random.fold_in(key, number)
            for row, index in enumerate(data["index"]):
                own = jax.random.fold_in(key, index)
                own = own if objective.views == 1 else jax.random.fold_in(own, view)
                pixels[row] *= float(jax.random.uniform(own))
        images = (pixels - np.array(CONFIG.mean)) / np.array(CONFIG.std)
        made.append((images, data["tokens"][:, view, :length]))
    return made


def in_parts(params, views, parts):
    """Embeddings of each view, a part after the other, and the mean colours in their order."""
    found = [[np.zeros((BATCH, 4)), np.zeros((BATCH, 4))] for _ in views]
    means = []
    for part in range(parts):
        for number, (images, tokens) in enumerate(views):
            mine = slice(part, None, parts)
            image, text, mean = embedded(params, images[mine], tokens[mine])
            found[number][0][mine], found[number][1][mine] = image, text
            means.append(mean)
    return [tuple(view) for view in found], means


def loss_of(objective, params, fixed_params, views, banks, parts):
    first, _ = in_parts(fixed_params, views, parts)
    later, _ = in_parts(params, views, parts)
    both = first[: objective.fixed] + later[objective.fixed :]
    return reference(objective.name, both, np.exp(params["log_scale"]), banks)


def slopes_of(objective, params, *others):
    """By central differences in every parameter."""
    found, step = {}, 1e-6
    for name, value in params.items():
        slope = np.zeros_like(value)
        for place in np.ndindex(value.shape):
            ends = []
            for sign in (1, -1):
                moved = np.array(value)
                moved[place] += sign * step
                ends.append(loss_of(objective, params | {name: moved}, params, *others))
            slope[place] = (ends[0] - ends[1]) / (2 * step)
        found[name] = slope
    return found


def plain(tree):
    return {name: np.array(value, np.float64) for name, value in tree["params"].items()}


CASES = [("unimodal", True, 4), ("bank_matched", True, 2),
         ("clip_and_unimodal", False, 1)]  # fmt: skip


@pytest.mark.parametrize("name, augmented, parts", CASES)
def test_two_steps_are_those_of_the_plain_statement(name, augmented, parts, monkeypatch):
    monkeypatch.setattr(objectives, "augment", dimmed)
    objective, length = ALL[name], 2 if parts == 2 else None
    made = steps(parts, "cosine")
    state = made.init(BATCH, PAIRS, [objective])
    step = made.train((objective, augmented), length)
    banks = {key: np.float64(bank.rows).reshape(BANK, -1) for key, bank in state.kept.items()}
    mean, remembered = np.zeros(3), np.full(PAIRS, np.nan)
    for number in range(2):
        data, before = batch(number, objective.views), plain(state.params)
        views = seen(data, objective, augmented, length)
        others = views, banks, parts
        state, metrics = step(state, data, np.float32(RATE), PLACE)
        after = plain(state.params)
        loss = loss_of(objective, before, before, *others)
        np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
        slopes = slopes_of(objective, before, *others)
        norm = np.sqrt(sum(np.sum(slope**2) for slope in slopes.values()))
        np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-3)
        for key, slope in slopes.items():
            np.testing.assert_allclose((before[key] - after[key]) / RATE, slope, atol=2e-4 * norm)
        np.testing.assert_allclose(metrics["logit_scale"], np.exp(after["log_scale"]), rtol=1e-5)
        found, means = in_parts(before, views, parts)
        for value in means:
            mean = MOMENTUM * mean + (1 - MOMENTUM) * value
        noted = state.batch_stats["batch_stats"]["color"]["mean"]
        np.testing.assert_allclose(noted, mean, atol=1e-5)
        if objective.plain:
            remembered[data["index"]] = np.sum(found[0][0] * found[0][1], axis=1)
        np.testing.assert_allclose(state.remembered[:PAIRS], remembered, atol=1e-5)
        for place, key in enumerate(sorted(banks)):
            place = 1 if name == "bank_matched" else place
            banks[key][number * BATCH : (number + 1) * BATCH] = found[0][place]
            rows = np.reshape(state.kept[key].rows, (BANK, -1))
            np.testing.assert_allclose(rows, banks[key], atol=1e-5)
        assert int(metrics["skipped_in_a_row"]) == int(state.skipped) == 0


@dataclasses.dataclass(frozen=True)
class Fragile(Objective):
    """The CLIP loss and what its state adds; its slope is no number where `root` is 0."""

    name = "fragile"

    def initial(self, key, batch, width, settings):
        return {"added": jnp.float32(0), "root": jnp.float32(1), "bank": Bank(jnp.ones((2, 2, 2)),
                jnp.int32(batch))}  # fmt: skip

    def loss(self, views, scale, state, settings):
        ((image, text),) = views
        root = jnp.sqrt(state["root"] * jnp.sum(jnp.square(image)))
        kept = state | {"bank": Bank(state["bank"].rows + 1, state["bank"].next + 1)}
        return losses.clip_loss(image, text, scale) + state["added"] + root, kept


def test_a_step_that_is_no_number_changes_nothing_but_its_counts():
    made = steps(remembers="cosine", optimizer=ADAMW)
    state, step = made.init(BATCH, PAIRS, [Fragile()]), made.train((Fragile(), False))
    good = state.kept["added"] + 0, state.kept["root"] + 0
    kinds = {"good": good, "loss": (jnp.float32(np.nan), good[1]), "slope": (good[0], good[1] * 0)}
    counts = []
    for kind in ("good", "loss", "slope", "good", "loss", "good"):
        added, root = (jnp.copy(x) for x in kinds[kind])
        state = state.replace(kept=state.kept | {"added": added, "root": root})
        before = jax.tree.map(np.asarray, state)
        state, metrics = step(state, batch(0, 1), np.float32(RATE), PLACE)
        counts.append((int(state.skipped), int(state.skipped_in_a_row)))
        assert int(metrics["skipped_in_a_row"]) == counts[-1][1]
        assert np.isfinite(metrics["loss"]) == (kind != "loss")
        assert np.isfinite(metrics["grad_norm"]) == (kind != "slope")
        same = jax.tree.map(
            lambda a, b: bool(np.array_equal(a, b, equal_nan=True)),
            before.replace(skipped=0, skipped_in_a_row=0),
            state.replace(skipped=0, skipped_in_a_row=0),
        )
        unchanged = jax.tree.leaves(same)
        assert all(unchanged) == (kind != "good")
        if kind == "good":
            parts = same.params, same.opt_state, same.batch_stats, same.kept["bank"].rows
            assert not any(all(jax.tree.leaves(part)) for part in parts)
    assert counts == [(0, 0), (1, 1), (2, 2), (2, 0), (3, 1), (3, 0)]


def test_a_run_embeds_whole_batches_and_remembers_nothing_unless_it_is_told():
    made = Steps(SmallModel(), optax.identity(), SETTINGS, sharding.make_mesh(), SEED)
    assert (made.micro_batches, made.remembers) == (1, None)


def test_a_state_begins_with_what_the_run_needs():
    alone = steps().init(BATCH)
    assert alone.kept == {} and alone.remembered is None
    assert int(alone.skipped) == int(alone.skipped_in_a_row) == 0
    assert alone.params.keys() == {"params"} and alone.batch_stats.keys() == {"batch_stats"}
    assert alone.variables.keys() == {"params", "batch_stats"}
    made = steps(remembers="cosine", optimizer=ADAMW)
    state = made.init(BATCH, PAIRS, ALL.values())
    assert state.kept.keys() == {"image_bank", "text_bank"}
    assert state.kept["image_bank"].rows.shape == (BANK // BATCH, BATCH, CONFIG.embedding)
    assert len(state.remembered) >= PAIRS and np.isnan(state.remembered).all()
    np.testing.assert_array_equal(
        state.params["params"]["kernel"], alone.params["params"]["kernel"]
    )
    moments = state.opt_state[0].mu["params"]
    assert moments["kernel"].shape == (12, 4) and not np.any(moments["kernel"])
    other = steps(seed=8).init(BATCH)
    assert (other.params["params"]["kernel"] != alone.params["params"]["kernel"]).any()
    key = jax.random.split(jax.random.key(SEED), 3)[0]
    tokens = jnp.zeros((1, CONTEXT), jnp.int32)
    expected = jax.jit(SmallModel().init)(key, jnp.zeros((1, 8, 8, 3)), tokens)["params"]
    np.testing.assert_array_equal(alone.params["params"]["kernel"], expected["kernel"])


def test_the_optimizer_is_adamw_and_decays_matrices_alone():
    made = steps(remembers="cosine", optimizer=ADAMW)
    state, step = made.init(BATCH, PAIRS), made.train((CLIP, False))
    first, second = ({name: 0.0 for name in state.params["params"]} for _ in range(2))
    for number in range(1, 3):
        data, before = batch(number, 1), plain(state.params)
        slopes = slopes_of(CLIP, before, seen(data, CLIP, False, None), {}, 1)
        state, _ = step(state, data, np.float32(0.01), PLACE)
        for name, slope in slopes.items():
            first[name] = 0.8 * first[name] + 0.2 * slope
            second[name] = 0.95 * second[name] + 0.05 * slope**2
            moved = first[name] / (1 - 0.8**number)
            moved = moved / (np.sqrt(second[name] / (1 - 0.95**number)) + 1e-8)
            moved = moved + (0.3 * before[name] if before[name].ndim > 1 else 0)
            expected = before[name] - 0.01 * moved
            np.testing.assert_allclose(plain(state.params)[name], expected, atol=3e-5)


def test_scores_are_of_running_statistics_and_of_valid_pairs():
    made = steps()
    state, data = made.init(BATCH), batch(0, 1)
    stats = {"batch_stats": {"color": {"mean": jnp.float32([0.5, -0.2, 0.1])}}}
    valid = np.arange(BATCH) != 2
    inputs = {"image": data["image"], "tokens": data["tokens"][:, 0], "valid": valid}
    found = np.asarray(made.score(SCORES["relative"], {**state.params, **stats}, inputs))
    images = (data["image"] / 255 - np.array(CONFIG.mean)) / np.array(CONFIG.std)
    params = plain(state.params)
    image, text, _ = embedded(params, images, inputs["tokens"], np.array([0.5, -0.2, 0.1]))
    logits = np.exp(params["log_scale"]) * image @ text.T
    sums = (np.log(np.exp(logits).sum(axis=axis)) for axis in (0, 1))
    expected = 1 + (np.diagonal(logits) - sum(sums) / 2) / np.log(BATCH)
    np.testing.assert_allclose(found[valid], expected[valid], rtol=1e-4, atol=1e-5)
    assert np.isnan(found[2]) and found.dtype == np.float32


@pytest.mark.parametrize("name, length", [("clip", None), ("unimodal", 2)])
def test_a_step_that_is_lowered_is_that_of_real_batches(name, length, monkeypatch):
    monkeypatch.setattr(objectives, "augment", dimmed)
    made, objective = steps(), ALL[name]
    kind = objective, True
    state = made.init(BATCH, 0, [objective])
    lowered = made.lower_train(kind, state, BATCH, length)
    data = batch(0, objective.views)
    expected = made.train(kind, length).lower(state, data, np.float32(RATE), PLACE)
    assert lowered.as_text() == expected.as_text()
    assert "tf.aliasing_output" in expected.as_text()  # the state is donated


def test_a_state_can_start_from_arrays_of_the_host():
    state = steps().init(BATCH)
    given = jax.tree.map(lambda x: np.asarray(x) + 1, state.variables)
    started = state.starting_from(given)
    jax.tree.map(np.testing.assert_array_equal, started.variables, given)
    assert started.params.keys() == {"params"} and started.batch_stats.keys() == {"batch_stats"}
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(started.variables))
