"""Products and their gradients against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from safeclip_jax.models import convolution
from safeclip_jax.models.linear import Linear, affine
from safeclip_jax.models.text import TextConfig, TextTransformer
from safeclip_jax.models.transformer import Attention

ROWS = 4096


def inputs(dtype):
    rng = np.random.default_rng(0)
    rows, kernel, bias, slopes = (
        rng.normal(size=shape).astype(np.float32) for shape in ((ROWS, 24), (24, 8), 8, (ROWS, 8))
    )
    return jnp.asarray(rows, dtype), jnp.asarray(kernel), jnp.asarray(bias), slopes + 1


def gradients(function, dtype):
    """Of the kernel and the bias of sum(slopes · function(rows, kernel, bias))."""
    rows, kernel, bias, slopes = inputs(dtype)
    slopes = jnp.asarray(slopes, dtype)

    def total(kernel, bias):
        return jnp.sum((function(rows, kernel, bias) * slopes).astype(jnp.float32))

    return jax.jit(jax.grad(total, (0, 1)))(kernel, bias)


def exact(dtype):
    rows, _, _, slopes = inputs(dtype)
    rows, slopes = np.float64(rows), np.float64(jnp.asarray(slopes, dtype))
    return rows.T @ slopes, slopes.sum(axis=0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_of_parameters_are_not_rounded(dtype):
    for found, expected in zip(gradients(affine, dtype), exact(dtype), strict=True):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-2)


def test_a_plain_bfloat16_product_rounds_them():
    def plain(rows, kernel, bias):
        return rows @ kernel.astype(rows.dtype) + bias.astype(rows.dtype)

    found, expected = gradients(plain, "bfloat16"), exact("bfloat16")
    error = max(np.abs(f - e).max() for f, e in zip(found, expected, strict=True))
    assert error > 1


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("bfloat16", 1e-2)])
def test_values_and_gradients_of_rows_are_those_of_the_formula(dtype, tolerance):
    rows, kernel, bias, slopes = inputs(dtype)
    value, pull = jax.vjp(lambda rows: affine(rows, kernel, bias), rows)
    assert value.dtype == rows.dtype
    expected = np.float64(rows) @ np.float64(kernel) + np.float64(bias)
    np.testing.assert_allclose(np.float64(value), expected, rtol=tolerance, atol=20 * tolerance)
    (found,) = pull(jnp.asarray(slopes, dtype))
    expected = np.float64(slopes) @ np.float64(kernel).T
    np.testing.assert_allclose(np.float64(found), expected, rtol=tolerance, atol=20 * tolerance)


def test_a_kernel_is_kept_in_its_shape():
    module = Linear(6, jnp.float32, (4, 2, 3), (2, 3))
    x = jax.random.normal(jax.random.key(0), (5, 7, 4))
    params = module.init(jax.random.key(1), x)["params"]
    assert params["kernel"].shape == (4, 2, 3) and params["bias"].shape == (2, 3)
    params["bias"] += jnp.arange(6.0).reshape(2, 3)
    expected = np.einsum("blw,whd->blhd", x, params["kernel"]) + params["bias"]
    found = module.apply({"params": params}, x)
    np.testing.assert_allclose(found, expected.reshape(5, 7, 6), atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_equals_numpy(causal):
    module = Attention(2, causal, jnp.float32)
    x = np.asarray(jax.random.normal(jax.random.key(0), (3, 5, 8)))
    params = module.init(jax.random.key(1), x)["params"]
    params = jax.tree.map(lambda p: p + 0.1 * jnp.arange(p.size).reshape(p.shape) / p.size, params)
    q, k, v = (
        np.einsum("blw,whd->blhd", x, params[n]["kernel"]) + params[n]["bias"] for n in "qkv"
    )
    logits = np.einsum("blhd,bmhd->bhlm", q, k) / 2
    if causal:
        logits = np.where(np.tril(np.ones((5, 5))), logits, -np.inf)
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    mixed = np.einsum("bhlm,bmhd->blhd", shares, v)
    expected = np.einsum("blhd,hdw->blw", mixed, params["out"]["kernel"]) + params["out"]["bias"]
    np.testing.assert_allclose(module.apply({"params": params}, x), expected, atol=1e-5)


def test_a_token_seen_a_thousand_times_counts_a_thousand_times():
    config = TextConfig(context=4, vocab_size=8, end_id=7, width=8, depth=0, heads=1)
    tokens = np.tile(np.array([[1, 7, 0, 0]], np.int32), (1024, 1))
    counts = {}
    for dtype in (jnp.float32, jnp.bfloat16):
        tower = TextTransformer(config, dtype)
        params = tower.init(jax.random.key(0), tokens)

        def total(params, tower=tower):
            return tower.apply(params, tokens)[:, 0].astype(jnp.float32).sum()

        grads = jax.jit(jax.grad(total))(params)["params"]
        counts[dtype] = np.stack([grads["tokens"]["embedding"][7], grads["positions"][1]])
    np.testing.assert_allclose(counts[jnp.bfloat16], counts[jnp.float32], rtol=0.02, atol=1)
    assert np.abs(counts[jnp.float32]).max() > 512


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_a_convolution_by_products_equals_xlas(stride, dtype, tolerance):
    x = jax.random.normal(jax.random.key(0), (2, 8, 6, 5), dtype)
    module = convolution.Conv3(7, jnp.dtype(dtype).type, stride)
    params = module.init(jax.random.key(1), x)

    def theirs(params, x):
        kernel = params["params"]["kernel"]
        return jax.lax.conv_general_dilated(
            x.astype(jnp.float32),
            kernel,
            (stride, stride),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    slopes = jax.random.normal(jax.random.key(2), theirs(params, x).shape)
    value, pull = jax.vjp(module.apply, params, x)
    expected, expected_pull = jax.vjp(theirs, params, x)
    np.testing.assert_allclose(np.float32(value), expected, atol=4 * tolerance)
    found, wanted = pull(slopes.astype(dtype)), expected_pull(slopes)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        scale = float(jnp.abs(b).max())
        np.testing.assert_allclose(np.float32(a), np.float32(b), atol=tolerance * scale)
