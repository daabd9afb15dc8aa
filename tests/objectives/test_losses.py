import jax
import jax.numpy as jnp
import numpy as np
import pytest

from safeclip_jax.distributed import sharding
from safeclip_jax.objectives import chunked, losses
from safeclip_jax.objectives.bank import empty_bank, nearest

DEVICES = 8


def unit(rng, *shape):
    x = rng.standard_normal(shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def numpy_info_nce(queries, targets, scale):
    logits = scale * queries @ targets.T
    logits -= logits.max(axis=1, keepdims=True)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return -np.log(np.diagonal(probabilities)).mean()


@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_info_nce_and_clip_loss_equal_float64_numpy(scale):
    rng = np.random.default_rng(0)
    a, b = unit(rng, 32, 16), unit(rng, 32, 16)
    args = np.float32(a), np.float32(b), np.float32(scale)
    forward, backward = numpy_info_nce(a, b, scale), numpy_info_nce(b, a, scale)
    np.testing.assert_allclose(losses.info_nce(*args), forward, rtol=1e-5)
    np.testing.assert_allclose(losses.clip_loss(*args), (forward + backward) / 2, rtol=1e-5)


def test_clip_loss_gradient_equals_finite_differences_in_float64():
    rng = np.random.default_rng(1)
    a, b, direction = unit(rng, 8, 4), unit(rng, 8, 4), rng.standard_normal((8, 4))

    def reference(x):
        return (numpy_info_nce(x, b, 10.0) + numpy_info_nce(b, x, 10.0)) / 2

    step = 1e-6
    slope = (reference(a + step * direction) - reference(a - step * direction)) / (2 * step)
    gradient = jax.grad(losses.clip_loss)(jnp.float32(a), jnp.float32(b), 10.0)
    np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=1e-4)


def test_clip_loss_equals_transformers():
    torch = pytest.importorskip("torch")
    from transformers.models.clip.modeling_clip import image_text_contrastive_loss

    rng = np.random.default_rng(2)
    a, b = np.float32(unit(rng, 24, 16)), np.float32(unit(rng, 24, 16))
    theirs_a = torch.tensor(a, requires_grad=True)
    loss = image_text_contrastive_loss(20.0 * torch.tensor(b) @ theirs_a.T)
    loss.backward()
    ours, gradient = jax.value_and_grad(losses.clip_loss)(a, b, 20.0)
    np.testing.assert_allclose(ours, loss.item(), rtol=1e-5)
    np.testing.assert_allclose(gradient, theirs_a.grad.numpy(), rtol=1e-3, atol=1e-6)


def test_unimodal_loss_equals_numpy_and_bank_is_first_in_first_out():
    rng = np.random.default_rng(3)
    rows = unit(rng, 12, 8)
    bank = losses.Bank(jnp.float32(rows).reshape(3, 4, 8), jnp.int32(0))
    for step in range(5):
        a, b = unit(rng, 4, 8), unit(rng, 4, 8)
        neighbours = rows[np.argmax(a @ rows.T, axis=1)]
        expected = numpy_info_nce(b, neighbours, 5.0)
        loss, bank = losses.unimodal_loss(np.float32(a), np.float32(b), bank, np.float32(5))
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        first = 4 * (step % 3)
        rows[first : first + 4] = a
        np.testing.assert_allclose(bank.rows.reshape(12, 8), rows, rtol=1e-6)


def test_unimodal_loss_has_no_gradient_through_view_a():
    rng = np.random.default_rng(4)
    bank = empty_bank(jax.random.key(0), 2, 4, 8)
    a, b = np.float32(unit(rng, 4, 8)), np.float32(unit(rng, 4, 8))

    def loss(a, b):
        return losses.unimodal_loss(a, b, bank, 5.0)[0]

    of_a, of_b = jax.grad(loss, argnums=(0, 1))(a, b)
    assert not np.any(of_a)
    assert np.all(np.linalg.norm(of_b, axis=1) > 0)


def test_bank_matched_loss_equals_numpy_and_takes_in_the_captions():
    rng = np.random.default_rng(5)
    rows = unit(rng, 12, 8)
    bank = losses.Bank(jnp.float32(rows).reshape(3, 4, 8), jnp.int32(0))
    images, texts = unit(rng, 4, 8), unit(rng, 4, 8)
    matched = rows[np.argmax(images @ rows.T, axis=1)]
    expected = (numpy_info_nce(images, matched, 5.0) + numpy_info_nce(matched, images, 5.0)) / 2
    loss, after = losses.bank_matched_loss(np.float32(images), np.float32(texts), bank, 5.0)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(after.rows[0], texts, rtol=1e-6)
    np.testing.assert_array_equal(after.rows[1:], bank.rows[1:])
    of_images, of_texts = jax.grad(
        lambda i, t: losses.bank_matched_loss(i, t, bank, 5.0)[0], argnums=(0, 1)
    )(np.float32(images), np.float32(texts))
    assert np.all(np.linalg.norm(of_images, axis=1) > 0) and not np.any(of_texts)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_clip_and_unimodal_loss_equals_pytorchs_cross_entropy(weight):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(6)
    arrays = [np.float32(unit(rng, 12, 8)) for _ in range(4)]
    images, texts, image_views, text_views = (torch.tensor(a, requires_grad=True) for a in arrays)

    def cross_entropy(a, b):
        return torch.nn.functional.cross_entropy(7.0 * a @ b.T, torch.arange(12))

    clip = (cross_entropy(images, texts) + cross_entropy(texts, images)) / 2
    within = (cross_entropy(images, image_views) + cross_entropy(texts, text_views)) / 2
    loss = clip + weight * within
    loss.backward()
    ours, gradients = jax.value_and_grad(losses.clip_and_unimodal_loss, argnums=(0, 1, 2, 3))(
        *arrays, 7.0, weight
    )
    np.testing.assert_allclose(ours, loss.item(), rtol=1e-5)
    for gradient, theirs in zip(gradients, (images, texts, image_views, text_views), strict=True):
        expected = np.zeros((12, 8)) if theirs.grad is None else theirs.grad.numpy()
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-6)


def chunks_of(size, devices, fsdp=1, split_banks=False):
    mesh = sharding.make_mesh(fsdp, jax.devices()[:devices])
    return chunked.Chunks(size, mesh, split_banks)


@pytest.mark.parametrize("devices, fsdp", [(1, 1), (2, 1), (4, 2)])
@pytest.mark.parametrize("size, split_banks", [(4, False), (8, True), (32, False), (0, True)])
def test_chunked_losses_and_gradients_equal_the_plain_ones(size, split_banks, devices, fsdp):
    rng = np.random.default_rng(6)
    a, b, c, d = (np.float32(unit(rng, 32, 16)) for _ in range(4))
    bank = losses.Bank(jnp.float32(unit(rng, 64, 16)).reshape(2, 32, 16), jnp.int32(0))
    chunks = chunks_of(size, devices, fsdp, split_banks)

    def all_of(a, b, c, d, scale, chunks):
        return (
            losses.clip_loss(a, b, scale, chunks)
            + 2 * losses.info_nce(c, b, scale, chunks)
            + 3 * losses.clip_and_unimodal_loss(a, b, c, d, scale, 0.7, chunks)
            + 4 * losses.unimodal_loss(a, c, bank, scale, chunks)[0]
            + 5 * losses.bank_matched_loss(d, c, bank, scale, chunks)[0]
        )

    def run(chunks):
        function = jax.value_and_grad(all_of, argnums=(0, 1, 2, 3, 4))
        return jax.jit(function, static_argnums=5)(a, b, c, d, jnp.float32(30.0), chunks)

    (value, gradients), (expected, expected_gradients) = run(chunks), run(None)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    for x, y in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("size, devices", [(0, 4), (4, 2), (2, 4)])
def test_expected_logits_are_numpys_also_in_chunks_over_devices(size, devices):
    rng = np.random.default_rng(8)
    queries, targets = np.float32(unit(rng, 16, 8)), np.float32(unit(rng, 16, 8))
    logits = 40 * np.float64(queries @ targets.T)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = (weights * logits).sum(axis=1) / weights.sum(axis=1)
    for chunks in (None, chunks_of(size, devices)):
        found = losses.expected(queries, targets, jnp.float32(40), chunks)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("split_banks", [False, True])
def test_chunked_nearest_takes_the_first_of_equals(split_banks):
    """Rows are numbered in one element that no query looks at, to tell equals apart."""
    rows = np.float32(np.eye(5)[[0, 1, 1, 2, 2, 3, 3, 0]])
    rows[:, 4] = np.arange(8)
    queries = np.float32(np.eye(5)[:4])
    bank = losses.Bank(jnp.asarray(rows).reshape(2, 4, 5), jnp.int32(0))
    found = nearest(bank, queries, chunks_of(2, 2, split_banks=split_banks))
    np.testing.assert_array_equal(found[:, 4], [0, 1, 3, 5])
    np.testing.assert_array_equal(found, nearest(bank, queries))


def test_chunked_losses_never_hold_all_similarities():
    """The largest array of the compiled program is a block, not [B, B]."""
    size, chunks = 2048, chunks_of(128, 1)
    x = jax.ShapeDtypeStruct((size, 8), np.float32)
    gradient = jax.grad(lambda a, b: losses.clip_loss(a, b, 10.0, chunks), (0, 1))
    memory = jax.jit(gradient).lower(x, x).compile().memory_analysis()
    assert memory.temp_size_in_bytes < size * size * 4 / 2
