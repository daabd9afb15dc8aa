"""open_clip opens what we export. Needs `open_clip_torch` and torchvision; run by hand:

pytest -m slow tests/weights/test_open_clip.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import safeclip_jax
from safeclip_jax.data.sources.scenes import PROMPTS, Scenes
from safeclip_jax.evaluation import zero_shot
from safeclip_jax.inference.model import Model
from safeclip_jax.models import clip
from safeclip_jax.objectives import losses
from safeclip_jax.weights import links, pretrained
from safeclip_jax.weights import open_clip as layout
from safeclip_jax.weights.pretrained import Pretrained
from safeclip_jax.weights.write import write
from tests.weights.test_weights import (
    CAPTIONS,
    assert_relative,
    assert_same,
    edit,
    random_model,
)

pytestmark = pytest.mark.slow
open_clip = pytest.importorskip("open_clip")
torch = pytest.importorskip("torch")


def theirs_of(folder):
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return model.eval(), preprocess


@pytest.mark.parametrize("preset", ["vit_nano8", "rn_nano", "vit_b32", "rn50"])
def test_forward_and_gradients_equal_open_clip(tmp_path, preset):
    size = clip.PRESETS[preset].image.image_size
    model = random_model(preset, size, end_last=True, activation="quick_gelu")
    write(model, tmp_path / "oc", "open_clip")
    theirs, _ = theirs_of(tmp_path / "oc")
    rng = np.random.default_rng(1)
    images = rng.standard_normal((4, size, size, 3)).astype(np.float32)
    ids = model.tokenizer.encode(CAPTIONS[:4])
    image, text, scale = theirs(
        torch.tensor(images.transpose(0, 3, 1, 2)), torch.tensor(ids).long()
    )
    logits = scale * image @ text.T
    target = torch.arange(4)
    cross_entropy = torch.nn.functional.cross_entropy
    loss = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
    loss.backward()
    module = clip.CLIP(model.config)

    @jax.jit
    def ours(params):
        image, text, scale = module.apply({**model.variables, "params": params}, images, ids)
        return losses.clip_loss(image, text, scale), (image, text)

    (value, (my_image, my_text)), grads = jax.value_and_grad(ours, has_aux=True)(
        model.variables["params"]
    )
    assert_relative(my_image, image.detach().numpy(), 1e-4)
    assert_relative(my_text, text.detach().numpy(), 1e-4)
    np.testing.assert_allclose(value, loss.item(), rtol=1e-4)
    trained = [k for k in layout.links_of(model.config) if k.ours[0] == "params"]
    tensors = links.export(trained, {"params": grads})
    pairs = {
        name: (tensors[name], parameter.grad.numpy())
        for name, parameter in theirs.named_parameters()
        if "k_proj.bias" not in name
    }
    apart = sum(np.sum(np.square(a - b)) for a, b in pairs.values())
    assert np.sqrt(apart) < 1e-3 * np.sqrt(sum(np.sum(np.square(b)) for _, b in pairs.values()))
    if preset not in ("rn50", "vit_b32"):  # their single tensors are compared in float64, below
        for name, (a, b) in pairs.items():
            assert_relative(a, b, 1e-3, name)


@pytest.mark.parametrize("preset", ["rn_nano", "rn50", "vit_b32"])
def test_gradients_in_float64(tmp_path, preset):
    """In float32 a ReLU near zero that falls on the other side moves all gradients below it.

    The logit scale's gradient is a small difference of large sums.
    """
    size = clip.PRESETS[preset].image.image_size
    model = random_model(preset, size, end_last=True, activation="quick_gelu")
    write(model, tmp_path / "oc", "open_clip")
    theirs, _ = theirs_of(tmp_path / "oc")
    theirs = theirs.double()
    images = np.random.default_rng(1).standard_normal((4, size, size, 3))
    ids = model.tokenizer.encode(CAPTIONS[:4])
    pictures = torch.tensor(images.transpose(0, 3, 1, 2))
    image, text, scale = theirs(pictures, torch.tensor(ids).long())
    logits, target = scale * image @ text.T, torch.arange(4)
    cross_entropy = torch.nn.functional.cross_entropy
    ((cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2).backward()
    with jax.enable_x64(True):
        module = clip.CLIP(model.config, jnp.float64)
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), model.variables)

        def loss(params):
            return losses.clip_loss(*module.apply({**variables, "params": params}, images, ids))

        grads = jax.device_get(jax.jit(jax.grad(loss))(variables["params"]))
    trained = [k for k in layout.links_of(model.config) if k.ours[0] == "params"]
    tensors = links.export(trained, {"params": grads})
    for name, parameter in theirs.named_parameters():
        if "k_proj.bias" not in name:
            assert_relative(tensors[name], parameter.grad.numpy(), 1e-3, name)


def test_both_programs_count_the_same_correct_answers_on_scenes(tmp_path):
    """A few epochs on scenes, exported."""
    from safeclip_jax.training import loop

    config = safeclip_jax.config("demo")
    config.model.preset, config.defense, config.epochs = "vit_nano8", "none", 10
    config.data.pairs, config.evaluate.pairs, config.attack.rate = 6000, 500, 0.0
    config.score.batch_size = 128
    results = loop.run(config, tmp_path / "run")
    scenes = Scenes(500, seed=0, split="test", size=32)
    pictures = [Image.fromarray(scenes.image(i)) for i in range(500)]
    prompts = [[t.format(name) for t in PROMPTS] for name in scenes.class_names]
    for name, embedders in (("open_clip", by_open_clip), ("huggingface", by_transformers)):
        folder = tmp_path / name
        write(pretrained.read(tmp_path / "run"), folder, name)
        embed_images, embed_texts = embedders(folder)
        with torch.no_grad():
            classes = zero_shot.class_vectors(embed_texts, prompts)
            found = (embed_images(pictures) @ classes.T).argmax(axis=1)
        accuracy = np.mean(found == scenes.labels)
        print(f"ours {results['zero_shot_accuracy']:.4f}, {name} {accuracy:.4f}")
        assert results["zero_shot_accuracy"] > 0.2
        assert accuracy == results["zero_shot_accuracy"]


def by_open_clip(folder):
    theirs, preprocess = theirs_of(folder)
    words = pretrained.read(folder).tokenizer

    def embed_images(pictures):
        return theirs.encode_image(torch.stack([preprocess(p) for p in pictures]), True).numpy()

    def embed_texts(texts):
        return theirs.encode_text(torch.tensor(words.encode(texts)).long(), True).numpy()

    return embed_images, embed_texts


def by_transformers(folder):
    from transformers import CLIPModel, CLIPProcessor

    theirs, processor = (
        CLIPModel.from_pretrained(folder).eval(),
        CLIPProcessor.from_pretrained(folder),
    )

    def unit(features):
        x = getattr(features, "pooler_output", features)
        return (x / x.norm(dim=-1, keepdim=True)).numpy()

    def embed_images(pictures):
        inputs = processor(images=pictures, return_tensors="pt")
        return unit(theirs.get_image_features(**inputs))

    def embed_texts(texts):
        inputs = processor(
            text=list(texts), return_tensors="pt", padding="max_length", truncation=True
        )
        return unit(theirs.get_text_features(**inputs))

    return embed_images, embed_texts


def test_open_clips_own_state_dict_opens_here(tmp_path):
    theirs = open_clip.create_model("RN50-quickgelu").eval()
    torch.save(theirs.state_dict(), tmp_path / "rn50.pt")
    words = random_model(end_last=True).tokenizer
    found = pretrained.tensor_files.read(tmp_path / "rn50.pt")
    config = clip.configure(
        "rn50", image_size=224, context=77, vocab_size=49408, end_id=49407,
        activation="quick_gelu",
    )  # fmt: skip
    variables = links.read(layout.links_of(config), found, pretrained.shapes_of(config), "rn50.pt")
    model = Model(Pretrained(config, variables, words, "rn50.pt"))
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    inputs = np.asarray(config.normalize(np.float32(images) / 255)).transpose(0, 3, 1, 2)
    with torch.no_grad():
        expected = theirs.encode_image(torch.tensor(inputs), True).numpy()
    assert_relative(model.embed_images(list(images)), expected, 1e-4)


def test_custom_text_clips_own_file_opens_here(tmp_path):
    """As its own program writes it: names that begin with `text.`, under a loop's wrapper."""
    model = random_model("vit_nano8", end_last=True, activation="gelu")
    write(model, tmp_path / "oc", "open_clip")
    edit(tmp_path / "oc/open_clip_config.json", model_cfg__custom_text=True)
    theirs, _ = theirs_of(tmp_path / "oc")
    assert type(theirs).__name__ == "CustomTextCLIP"
    state = theirs.state_dict()
    assert any(name.startswith("text.transformer") for name in state)
    (tmp_path / "oc/open_clip_model.safetensors").unlink()
    torch.save({"epoch": 1, "state_dict": state}, tmp_path / "oc/open_clip_pytorch_model.bin")
    assert_same(pretrained.read(tmp_path / "oc").variables, model.variables)
