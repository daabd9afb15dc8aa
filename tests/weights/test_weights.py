"""Our models in other programs' files and back; PyTorch's side where it is installed."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import safeclip_jax
from safeclip_jax.data import tokenizer as tokenizers
from safeclip_jax.data.sources.scenes import Scenes
from safeclip_jax.errors import UserError
from safeclip_jax.inference.model import Model
from safeclip_jax.models import clip
from safeclip_jax.objectives import losses
from safeclip_jax.weights import huggingface, links, open_clip, pretrained, tensor_files
from safeclip_jax.weights.pretrained import Pretrained, shapes_of
from safeclip_jax.weights.write import write

CAPTIONS = ["a red circle", "the photo of a green square", "two blue stars, small"] * 5


def tokenizer(end_last=False):
    trained = tokenizers.train(CAPTIONS, 300, 16)
    return trained.end_last()[0] if end_last else trained


def random_model(preset="vit_nano8", image_size=32, end_last=False, seed=0, **shape):
    """A model whose every array is random, those included that begin as zeros and ones."""
    words = tokenizer(end_last)
    config = clip.configure(
        preset,
        image_size=image_size,
        context=16,
        vocab_size=words.vocab_size,
        end_id=words.end_id,
        activation=shape.pop("activation", None),
    )
    if shape:
        text = {name: shape[name] for name in ("width", "depth", "heads")}
        config = replace(
            config, image=replace(config.image, **shape), text=replace(config.text, **text)
        )
    rng = np.random.default_rng(seed)

    def draw(path, x):
        name = jax.tree_util.keystr(path)
        values = rng.standard_normal(x.shape).astype(np.float32)
        if "var" in name or "log_scale" in name:
            return np.abs(values) * np.float32(0.5) + 1
        if "scale" in name or "mean" in name:
            return ("scale" in name) + np.float32(0.1) * values
        fan_in = np.prod(x.shape[:-1]) if len(x.shape) > 1 else 100
        return values * np.float32(min(0.5, fan_in**-0.5))

    variables = jax.tree.map_with_path(draw, shapes_of(config))
    return Pretrained(config, variables, words, "random")


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for (path, x), y in zip(jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))


def scenes(count):
    return [Scenes(count, seed=3, size=32).image(i) for i in range(count)]


@pytest.mark.parametrize(
    "preset, layout",
    [
        ("vit_nano8", "huggingface"),
        ("vit_nano8", "open_clip"),
        ("rn_nano", "open_clip"),
        ("nano", "native"),
        ("rn_nano", "native"),
    ],
)
def test_a_round_trip_is_bit_identical(tmp_path, preset, layout):
    model = random_model(preset, end_last=True)
    write(model, tmp_path / "there", layout)
    back = pretrained.read(tmp_path / "there")
    assert back.config == model.config
    assert_same(back.variables, model.variables)
    np.testing.assert_array_equal(back.tokenizer.encode(CAPTIONS), model.tokenizer.encode(CAPTIONS))


@pytest.mark.parametrize("layout", ["huggingface", "open_clip"])
def test_an_end_token_that_is_not_the_last_id_is_moved_there(tmp_path, layout):
    model = random_model()
    assert model.config.text.end_id == 2
    write(model, tmp_path / "there", layout)
    back = safeclip_jax.load(tmp_path / "there")
    assert back.config.text.end_id == back.config.text.vocab_size - 1
    np.testing.assert_array_equal(
        Model(model).embed_texts(CAPTIONS[:3]), back.embed_texts(CAPTIONS[:3])
    )


def test_layouts_refuse_what_they_cannot_hold(tmp_path):
    with pytest.raises(UserError, match="holds ViTs alone"):
        write(random_model("rn_nano"), tmp_path / "a", "huggingface")
    with pytest.raises(UserError, match="convolutional stem"):
        write(random_model("nano"), tmp_path / "a", "huggingface")
    with pytest.raises(UserError, match="convolutional stem"):
        write(random_model("nano"), tmp_path / "a", "open_clip")
    assert not list(tmp_path.iterdir())
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(UserError, match="exists already"):
        write(random_model(), tmp_path / "used", "native")


@pytest.fixture
def exported(tmp_path):
    folder = tmp_path / "hf"
    write(random_model(), folder, "huggingface")
    return folder


def edit(path: Path, **changes):
    content = json.loads(path.read_text())
    for key, value in changes.items():
        part, _, name = key.rpartition("__")
        (content[part] if part else content)[name] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "file, changes, reason",
    [
        ("config.json", {"model_type": "siglip"}, "model_type is 'siglip'"),
        ("config.json", {"vision_config__hidden_act": "relu"}, "hidden_act is 'relu'"),
        ("config.json", {"text_config__layer_norm_eps": 1e-6}, "layer_norm_eps"),
        ("config.json", {"text_config__eos_token_id": 5}, "eos_token_id=5 reads the text"),
        ("config.json", {"vision_config__patch_size": 16}, "position_embedding|patch_embedding"),
        ("preprocessor_config.json", {"resample": 2}, "resample is 2"),
        ("preprocessor_config.json", {"do_center_crop": False}, "do_center_crop"),
        ("preprocessor_config.json", {"crop_size": {"height": 64, "width": 64}}, "crop_size is 64"),
        ("preprocessor_config.json", {"image_mean": None}, "image_mean is None"),
    ],
)
def test_a_model_that_is_not_like_ours_is_refused_with_the_reason(exported, file, changes, reason):
    edit(exported / file, **changes)
    with pytest.raises(UserError, match=reason) as error:
        pretrained.read(exported)
    assert "\n" not in str(error.value)


def test_legacy_end_ids_read_at_the_largest_id(exported):
    expected = pretrained.read(exported)
    edit(exported / "config.json", text_config__eos_token_id=2)
    assert pretrained.read(exported).config == expected.config


def test_broken_files_name_the_tensor_or_the_file(exported):
    file = exported / "model.safetensors"
    whole, tensors = file.read_bytes(), tensor_files.read(file)
    name = "text_model.encoder.layers.1.mlp.fc1.bias"

    def refused(reason):
        with pytest.raises(UserError, match=reason) as error:
            pretrained.read(exported)
        assert "\n" not in str(error.value)

    tensor_files.write(file, {k: v for k, v in tensors.items() if k != name}, {})
    refused(f"lacks the tensor {name}")
    tensor_files.write(file, {**tensors, name: tensors[name][:-1]}, {})
    refused(rf"{name} is \(255,\), not \(256,\)")
    tensor_files.write(file, {**tensors, "extra.weight": tensors[name]}, {})
    refused("another model: it has the tensor extra.weight")
    for content in (whole[:-9], whole[:40], b"", b"\xff" * 64):
        file.write_bytes(content)
        refused("model.safetensors cannot be read")
    file.unlink()
    refused("has no model.safetensors")
    (exported / "preprocessor_config.json").unlink()
    refused("how are images prepared")
    (exported / "config.json").write_text("{")
    refused("config.json cannot be read")
    with pytest.raises(UserError, match="does not exist"):
        pretrained.read(exported / "nothing")
    with pytest.raises(UserError, match="holds no model"):
        pretrained.read(exported.parent)


def test_open_clip_configs_that_are_not_like_ours_are_refused(tmp_path):
    model = random_model(end_last=True)
    good = open_clip.describe(model.config)
    for change, reason in (
        (lambda c: c["model_cfg"]["vision_cfg"].update(timm_model_name="x"), "timm_model_name"),
        (lambda c: c["model_cfg"]["text_cfg"].update(hf_model_name="x"), "hf_model_name"),
        (lambda c: c["preprocess_cfg"].update(interpolation="bilinear"), "interpolation"),
        (lambda c: c["model_cfg"].pop("embed_dim"), "embed_dim"),
    ):
        content = json.loads(json.dumps(good))
        change(content)
        with pytest.raises(UserError, match=reason):
            open_clip.understand(content, model.config.text.end_id, "here")
    with pytest.raises(UserError, match="end token is 2"):
        open_clip.understand(good, 2, "here")


def test_bare_files_need_preset_and_activation(tmp_path):
    model = random_model("rn_nano", end_last=True, activation="gelu")
    write(model, tmp_path / "oc", "open_clip")
    file = tmp_path / "oc" / "open_clip_model.safetensors"
    with pytest.raises(UserError, match="give preset=NAME and activation=NAME"):
        pretrained.read(file)
    assert_same(pretrained.read(file, "rn_nano", "gelu").variables, model.variables)
    with pytest.raises(UserError, match="lacks the tensor"):
        pretrained.read(file, "vit_nano8", "gelu")


def test_positions_resize_as_torch_does():
    torch = pytest.importorskip("torch")
    from safeclip_jax.weights import positions

    rng = np.random.default_rng(0)
    for first, old, new in ((1, 7, 12), (1, 12, 7), (0, 4, 6)):
        found = rng.standard_normal((old * old + first, 5)).astype(np.float32)
        grid = torch.tensor(found[first:].reshape(1, old, old, 5).transpose(0, 3, 1, 2))
        resized = torch.nn.functional.interpolate(
            grid, (new, new), mode="bicubic", antialias=True, align_corners=False
        )
        expected = resized.numpy().transpose(0, 2, 3, 1).reshape(new * new, 5)
        ours = positions.resize(found, new * new + first)
        np.testing.assert_array_equal(ours[:first], found[:first])
        np.testing.assert_allclose(ours[first:], expected, atol=2e-5)
    with pytest.raises(UserError, match="no square grid"):
        positions.resize(found, 35)


def transformers_model(folder):
    from transformers import CLIPModel

    model, report = CLIPModel.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    return model.eval()


SHAPES = {
    "b32": {"image_size": 64, "patch": 32, "width": 96, "depth": 3, "heads": 3},
    "b16": {"image_size": 48, "patch": 16, "width": 64, "depth": 3, "heads": 4},
    "l14": {"image_size": 56, "patch": 14, "width": 128, "depth": 4, "heads": 8},
}


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
@pytest.mark.parametrize("shape", list(SHAPES))
def test_forward_and_gradients_equal_transformers(tmp_path, shape, activation):
    """The CLIP loss of the same pairs, and its gradient in every tensor."""
    torch = pytest.importorskip("torch")
    model = random_model(activation=activation, **SHAPES[shape])
    write(model, tmp_path / "hf", "huggingface")
    model = pretrained.read(tmp_path / "hf")
    theirs = transformers_model(tmp_path / "hf")
    rng = np.random.default_rng(1)
    side = model.config.image.image_size
    images = rng.standard_normal((6, side, side, 3)).astype(np.float32)
    ids = model.tokenizer.encode(CAPTIONS[:6])
    out = theirs(
        pixel_values=torch.tensor(images.transpose(0, 3, 1, 2)),
        input_ids=torch.tensor(ids),
        return_loss=True,
    )
    out.loss.backward()
    module = clip.CLIP(model.config)

    def loss(variables):
        image, text, scale = module.apply(variables, images, ids)
        return losses.clip_loss(image, text, scale), (image, text)

    (value, (image, text)), grads = jax.value_and_grad(loss, has_aux=True)(model.variables)
    assert_relative(image, out.image_embeds.detach().numpy(), 1e-4)
    assert_relative(text, out.text_embeds.detach().numpy(), 1e-4)
    np.testing.assert_allclose(value, out.loss.item(), rtol=1e-5)
    logits = np.asarray(image @ text.T)
    np.testing.assert_array_equal(
        np.argsort(logits[:, :3], axis=1),
        np.argsort(out.logits_per_image.detach().numpy()[:, :3], axis=1),
    )
    ours = links.export(huggingface.links_of(model.config), grads)
    for name, parameter in theirs.named_parameters():
        # A key's bias moves all logits of a row alike: its gradient is rounding.
        if "k_proj.bias" not in name:
            assert_relative(ours[name], parameter.grad.numpy(), 1e-3, name)


def assert_relative(ours, theirs, tolerance, name=""):
    """Distance over norm."""
    distance = np.linalg.norm(np.ravel(ours) - np.ravel(theirs)) / np.linalg.norm(theirs)
    assert distance < tolerance, f"{name}: {distance}"


@pytest.mark.by_hand
def test_a_full_vit_b32_equals_transformers(tmp_path):
    torch = pytest.importorskip("torch")
    config = clip.configure(
        "vit_b32", image_size=224, context=77, vocab_size=49408, end_id=49407,
        activation="quick_gelu",
    )  # fmt: skip
    module = clip.CLIP(config)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, 224, 224, 3)).astype(np.float32)
    ids = np.zeros((2, 77), np.int32)
    ids[0, :4], ids[1, :9] = [49406, 320, 1125, 49407], [49406, *range(500, 507), 49407]
    variables = jax.jit(module.init)(jax.random.key(0), images, ids)
    from transformers import CLIPConfig, CLIPModel

    theirs = CLIPModel(CLIPConfig.from_dict(huggingface.describe(config, 49406, 0))).eval()
    tensors = links.export(huggingface.links_of(config), variables)
    missing = theirs.load_state_dict(
        {name: torch.tensor(value) for name, value in tensors.items()}, strict=False
    )
    assert not missing.unexpected_keys and not missing.missing_keys
    with torch.no_grad():
        out = theirs(
            pixel_values=torch.tensor(images.transpose(0, 3, 1, 2)), input_ids=torch.tensor(ids)
        )
    image, text, _ = jax.jit(module.apply)(variables, images, ids)
    assert_relative(image, out.image_embeds.numpy(), 1e-4)
    assert_relative(text, out.text_embeds.numpy(), 1e-4)


def test_the_exported_processor_prepares_pairs_as_we_do(exported):
    pytest.importorskip("torch")
    from transformers import AutoTokenizer, CLIPImageProcessorPil

    model = safeclip_jax.load(exported)
    processor = CLIPImageProcessorPil.from_pretrained(exported)
    pictures = scenes(4)
    theirs = processor([Image.fromarray(p) for p in pictures], return_tensors="np")["pixel_values"]
    ours = model.config.normalize(np.float32(model.preprocess(pictures)) / 255)
    np.testing.assert_allclose(ours.transpose(0, 3, 1, 2), theirs, atol=1e-5)
    words = AutoTokenizer.from_pretrained(exported)
    texts = [*CAPTIONS[:3], "a very long caption " * 20, "Straße, 東京 & café!", ""]
    ids = words(texts, padding="max_length", truncation=True)["input_ids"]
    np.testing.assert_array_equal(model.tokenize(texts), ids)


def test_embedding_does_not_depend_on_the_batch():
    model = Model(random_model("rn_nano"))
    images = scenes(11)
    whole = model.embed_images(images)
    np.testing.assert_allclose(model.embed_images(images, batch=8), whole, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
    assert model.embed_texts([]).shape == (0, 64)
    rows = model.probabilities(whole, model.embed_texts(CAPTIONS[:3]))
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-5)


def test_pictures_may_be_files_bytes_arrays_and_pillow_images(tmp_path):
    model = Model(random_model())
    array = scenes(1)[0]
    Image.fromarray(array).save(tmp_path / "a.png")
    file = tmp_path / "a.png"
    forms = [array, Image.fromarray(array), file, str(file), file.read_bytes()]
    prepared = model.preprocess(forms)
    assert (prepared == array).all()
    with pytest.raises(UserError, match=r"image 1: .*missing\.png cannot be used"):
        model.preprocess([array, tmp_path / "missing.png"])


def command(name, *arguments):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, "-m", f"safeclip_jax.{name}", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
    )


@pytest.mark.slow
def test_export_and_import_from_the_command_line(tmp_path):
    write(random_model("rn_nano", activation="gelu"), tmp_path / "ours", "native")
    done = command(
        "export", "--model", tmp_path / "ours", "--format=open_clip", "--out", tmp_path / "oc"
    )
    assert done.returncode == 0, done.stderr
    assert "differ by at most" in done.stdout
    card = (tmp_path / "oc" / "README.md").read_text()
    assert "open_clip.create_model_and_transforms" in card and "ResNetConfig" in card
    file = tmp_path / "oc" / "open_clip_model.safetensors"
    refused = command("import", "--model", file, "--out", tmp_path / "back")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1 and "--activation" in refused.stderr
    done = command(
        "import", "--model", file, "--out", tmp_path / "back", "--preset=rn_nano",
        "--activation=gelu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_same(
        pretrained.read(tmp_path / "back").variables, pretrained.read(tmp_path / "oc").variables
    )
    again = command("export", "--model", tmp_path / "ours", "--out", tmp_path / "oc")
    assert again.returncode == 2 and "exists already" in again.stderr


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    touched = tmp_path / "touched"

    class Evil:
        def __reduce__(self):
            return Path.touch, (touched,)

    torch.save({"weights": Evil()}, tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"model\.pt holds more than tensors"):
        pretrained.read(tmp_path / "model.pt", "vit_nano8", "gelu")
    assert not touched.exists()


def test_training_starts_from_an_export_at_another_resolution(config, tmp_path):
    from safeclip_jax.training.experiment import build

    model = random_model(end_last=True)
    write(model, tmp_path / "hf", "huggingface")
    config.init_from, config.defense = str(tmp_path / "hf"), "none"
    config.model.preset, config.model.image_size = "vit_nano8", 64
    x = build(config)
    assert x.initial["params"]["image"]["positions"].shape == (65, 64)
    np.testing.assert_array_equal(
        x.initial["params"]["text"]["positions"], model.variables["params"]["text"]["positions"]
    )
    config.model.activation = "gelu"
    with pytest.raises(UserError, match="activation: there quick_gelu, here gelu"):
        build(config)
