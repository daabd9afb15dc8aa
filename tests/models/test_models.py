import jax
import jax.numpy as jnp
import numpy as np
import pytest

from safeclip_jax.errors import UserError
from safeclip_jax.models import clip, vit
from tests.support import noise

END = 49


def small(**changes):
    kwargs = {"image_size": 32, "context": 8, "vocab_size": 50, "end_id": END, **changes}
    return clip.CLIP(clip.configure("tiny", **kwargs))


def tokens(*lengths):
    rows = np.zeros((len(lengths), 8), np.int32)
    for row, length in zip(rows, lengths, strict=True):
        row[:length] = np.arange(1, length + 1)
        row[length] = END
    return rows


@pytest.mark.parametrize("pool", ["mean", "class_token"])
def test_embeddings_are_unit_vectors(pool):
    model = small(pool=pool)
    images = jax.random.normal(jax.random.key(0), (3, 32, 32, 3))
    params = noise.variables(model, images, tokens(2, 4, 6))
    image, text, scale = jax.jit(model.apply)(params, images, tokens(2, 4, 6))
    assert image.shape == text.shape == (3, 64)
    np.testing.assert_allclose(np.linalg.norm(image, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(text, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(scale, np.exp(params["params"]["log_scale"]), rtol=1e-5)
    assert ("class_token" in params["params"]["image"]) == (pool == "class_token")


def test_text_after_the_end_token_changes_nothing():
    model = small()
    rows = tokens(3, 5)
    params = noise.variables(model, jnp.zeros((1, 32, 32, 3)), rows)
    padded_with_end = np.where(rows == 0, END, rows)
    embed = jax.jit(lambda t: model.apply(params, t, method="embed_texts"))
    np.testing.assert_allclose(embed(rows), embed(padded_with_end), atol=1e-6)
    changed = rows.copy()
    changed[0, 1] = 7
    assert np.abs(embed(changed) - embed(rows))[0].max() > 1e-3


@pytest.mark.parametrize("scan", [False, True])
def test_captions_cut_to_their_length_are_embedded_as_whole_ones(scan):
    shape = clip.configure("nano", image_size=32, context=40, vocab_size=50, end_id=END)
    model = clip.CLIP(shape, scan=scan)
    rows = np.zeros((3, 40), np.int32)
    rows[:, :2] = tokens(1, 1, 1)[:, :2]
    rows[1, 1:15] = [*range(2, 15), END]
    text = shape.text
    assert text.lengths == (16, 32, 40)
    assert text.length(rows) == 16 and text.length(rows[:, None]) == 16
    params = noise.variables(model, jnp.zeros((1, 32, 32, 3)), rows)
    embed = jax.jit(lambda t: model.apply(params, t, method="embed_texts"))
    np.testing.assert_allclose(embed(rows[:, :16]), embed(rows), atol=1e-6)
    rows[2, 1:17] = [*range(2, 17), END]
    assert text.length(rows) == 32
    np.testing.assert_allclose(embed(rows[:, :32]), embed(rows), atol=1e-6)
    assert np.abs(embed(rows[:, :16]) - embed(rows))[2].max() > 1e-3


@pytest.mark.parametrize("preset, scan", [("nano", False), ("nano", True), ("rn_nano", False)])
def test_what_is_computed_again_changes_nothing_but_the_work(preset, scan):
    """Products in the backward pass: none of the forward's with `products`, all with `blocks`."""
    shape = clip.configure(preset, image_size=32, context=8, vocab_size=50, end_id=END)
    images = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    params = noise.variables(clip.CLIP(shape), images, tokens(3, 5))
    steps, products = {}, {}
    for remat in ("none", "products", "blocks"):
        model = clip.CLIP(shape, remat=remat, scan=scan)

        def total(params, model=model):
            image, text, _ = model.apply(params, images, tokens(3, 5))
            return jnp.sum(image * jnp.sin(text)) + image[0, 0] + text[0, 1]

        steps[remat] = jax.jit(jax.grad(total)).lower(params)
        products[remat] = steps[remat].as_text().count("stablehlo.dot_general")
    assert products["none"] <= products["products"] <= products["blocks"] - 4
    if preset == "nano":
        found = [jax.tree.leaves(step.compile()(params)["params"]) for step in steps.values()]
        for kept, again, all_again in zip(*found, strict=True):
            np.testing.assert_allclose(again, kept, atol=1e-5)
            np.testing.assert_allclose(all_again, kept, atol=1e-5)


def test_logit_scale_is_held_at_100():
    model = small()
    params = noise.variables(model, jnp.zeros((1, 32, 32, 3)), tokens(3))
    for log_scale, expected in ((9.0, 100.0), (-2.0, 1.0)):
        params["params"]["log_scale"] = jnp.float32(log_scale)
        scale = model.apply(params, method="logit_scale")
        np.testing.assert_allclose(scale, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "preset, side, count",
    [
        ("vit_b32", 224, 151_277_313),
        ("vit_b16", 224, 149_620_737),
        ("vit_l14", 224, 427_616_513),
        ("vit_l14", 336, 427_944_193),
        ("vit_h14", 224, 986_109_441),
        ("rn50", 224, 102_007_137),
        pytest.param("rn101", 224, 119_688_033, marks=pytest.mark.slow),
        pytest.param("rn50x4", 288, 178_300_601, marks=pytest.mark.slow),
    ],
)
def test_preset_sizes_are_clips(preset, side, count):
    """Parameter counts of OpenAI's and open_clip's models of these names."""
    config = clip.configure(preset, image_size=side, context=77, vocab_size=49408, end_id=49407)
    images, text = jnp.zeros((1, side, side, 3)), jnp.zeros((1, 77), jnp.int32)
    shapes = jax.eval_shape(clip.CLIP(config, scan=True).init, jax.random.key(0), images, text)
    assert sum(x.size for x in jax.tree.leaves(shapes["params"])) == count


def test_bad_shapes_are_refused():
    with pytest.raises(UserError, match="did you mean 'vit_b32'"):
        clip.configure("vit_b_32", image_size=224, context=77, vocab_size=9, end_id=8)
    with pytest.raises(UserError, match="multiple"):
        small(image_size=30)
    with pytest.raises(UserError, match=r"model\.pool"):
        small(pool="max")
    with pytest.raises(UserError, match=r"model\.activation"):
        small(activation="relu6")
    with pytest.raises(UserError, match=r"model\.std=\(0\.0, 1\.0, 1\.0\)"):
        small(std=(0.0, 1.0, 1.0))
    with pytest.raises(UserError, match="attention pooling"):
        clip.configure(
            "rn_nano", image_size=32, context=8, vocab_size=50, end_id=END, pool="class_token"
        )


def test_stem_convolution_equals_xlas():
    x = jax.random.normal(jax.random.key(0), (2, 16, 16, 5))
    stem = vit.StemConv(7, jnp.float32)
    params = stem.init(jax.random.key(1), x)
    dense = params["params"]["Dense_0"]
    expected = jax.lax.conv_general_dilated(
        x,
        dense["kernel"].reshape(3, 3, 5, 7),
        (2, 2),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_allclose(stem.apply(params, x), expected + dense["bias"], atol=1e-5)


def test_average_pooling_before_a_stride_sees_the_pixels():
    """CLIP's ResNets move when a pixel does; plain strides would skip three of four."""
    model = clip.CLIP(
        clip.configure("rn_nano", image_size=32, context=8, vocab_size=50, end_id=END)
    )
    images = jax.random.normal(jax.random.key(0), (1, 32, 32, 3))
    variables = noise.variables(model, images, tokens(2))

    def first(images):
        return model.apply(variables, images, method="embed_images")[0, 0]

    reaches = np.abs(jax.jit(jax.grad(first))(images)).max(axis=-1) > 0
    assert reaches.mean() > 0.9  # all but where ReLUs are off
