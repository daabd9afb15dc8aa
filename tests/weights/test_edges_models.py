"""Models as people have them: parts, wrappers, prefixes, other names, explicit defaults."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from safeclip_jax.errors import UserError
from safeclip_jax.weights import open_clip, pretrained, tensor_files
from safeclip_jax.weights.pretrained import Pretrained
from safeclip_jax.weights.write import write
from tests.weights.test_weights import assert_same, edit, random_model

PREFIXES = ("_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module.", "module.module.")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A ViT in Hugging Face's folder and a ResNet in open_clip's, with what they hold."""
    root, models = tmp_path_factory.mktemp("written"), {}
    for layout, preset in (("huggingface", "vit_nano8"), ("open_clip", "rn_nano")):
        models[layout] = random_model(preset, end_last=True, activation="gelu")
        write(models[layout], root / layout, layout)
    return root, models


@pytest.fixture
def copy(written, tmp_path):
    """A copy of a layout's folder, and the model in it."""

    def made(layout: str) -> tuple:
        root, models = written
        shutil.copytree(root / layout, tmp_path / layout)
        return tmp_path / layout, models[layout]

    return made


def weights_of(folder):
    return next(folder.glob("*.safetensors"))


def renamed(folder, change):
    """Writes the folder's tensors under other names."""
    file = weights_of(folder)
    tensors = {change(name): tensor for name, tensor in tensor_files.read(file).items()}
    tensor_files.write(file, tensors, {})
    return tensors


def in_parts(folder, count=3):
    """Cuts the folder's file into parts with an index, as transformers does."""
    file = weights_of(folder)
    tensors, places = tensor_files.read(file), {}
    for i in range(count):
        part = f"{file.stem}-{i + 1:05}-of-{count:05}.safetensors"
        names = sorted(tensors)[i::count]
        tensor_files.write(folder / part, {name: tensors[name] for name in names}, {})
        places |= dict.fromkeys(names, part)
    file.unlink()
    index = folder / f"{file.name}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


def test_the_page_names_tests_that_are_here():
    page = (Path(__file__).parents[2] / "docs/models.md").read_text()
    named = re.findall(r"`(test_\w+)`", page)
    assert len(named) > 5 and all(callable(globals().get(name)) for name in named)


@pytest.mark.parametrize("layout", ["huggingface", "open_clip"])
def test_weights_in_parts_are_one_model(copy, layout):
    folder, model = copy(layout)
    in_parts(folder)
    assert_same(pretrained.read(folder).variables, model.variables)


def test_a_part_that_is_missing_or_outside_is_named(copy):
    folder, _ = copy("huggingface")
    index = in_parts(folder)
    gone = folder / "model-00002-of-00003.safetensors"
    gone.unlink()
    with pytest.raises(UserError, match=r"model-00002-of-00003\.safetensors does not exist"):
        pretrained.read(folder)
    for places in ({"a": "../x.safetensors"}, {"a": 3}, {"a": "/x.safetensors"}, {}, [1]):
        index.write_text(json.dumps({"weight_map": places}))
        with pytest.raises(UserError, match="no index of files beside it"):
            pretrained.read(folder)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_of_wrapped_modules_do_not_count(copy, prefix):
    folder, model = copy("open_clip")
    renamed(folder, lambda name: prefix + name)
    assert_same(pretrained.read(folder).variables, model.variables)


def test_a_compiled_tower_inside_of_the_model_does_not_count(copy):
    folder, model = copy("open_clip")
    renamed(folder, lambda name: name.replace("visual.", "visual._orig_mod."))
    assert_same(pretrained.read(folder).variables, model.variables)


def test_two_tensors_of_one_name_are_refused(copy):
    folder, _ = copy("open_clip")
    file = weights_of(folder)
    tensors = tensor_files.read(file)
    tensor_files.write(file, {**tensors, "module.ln_final.bias": tensors["ln_final.bias"]}, {})
    with pytest.raises(UserError, match=r"holds the tensor ln_final\.bias a second time"):
        pretrained.read(folder)


@pytest.mark.parametrize("wrappers", [(), ("model_state_dict",), ("state_dict",), ("model",),
                                      ("model", "state_dict")])  # fmt: skip
@pytest.mark.parametrize("prefix", ["", *PREFIXES[:3]])
def test_a_training_loops_checkpoint_is_read_through_its_wrappers(copy, wrappers, prefix):
    torch = pytest.importorskip("torch")
    folder, model = copy("open_clip")
    found = {
        prefix + name: torch.tensor(tensor)
        for name, tensor in tensor_files.read(weights_of(folder)).items()
    }
    for name in reversed(wrappers):
        found = {"epoch": 3, name: found, "optimizer": {"lr": 0.1, "state": torch.zeros(2)}}
    file = folder / "epoch_3.pt"
    torch.save(found, file)
    assert_same(pretrained.read(file, "rn_nano", "gelu").variables, model.variables)


@pytest.mark.parametrize("layout", ["huggingface", "open_clip"])
def test_a_logit_scale_may_be_a_list_of_one(copy, layout):
    folder, model = copy(layout)
    file = weights_of(folder)
    tensors = tensor_files.read(file)
    assert tensors["logit_scale"].shape == ()
    tensor_files.write(file, {**tensors, "logit_scale": tensors["logit_scale"].reshape(1)}, {})
    assert_same(pretrained.read(folder).variables, model.variables)
    tensor_files.write(file, {**tensors, "logit_scale": np.zeros(2, np.float32)}, {})
    with pytest.raises(UserError, match=r"logit_scale is \(2,\), not \(\)"):
        pretrained.read(folder)


def test_custom_text_clips_names_are_read(copy):
    folder, model = copy("open_clip")
    names = renamed(
        folder,
        lambda name: name if name.startswith(("visual.", "logit_scale")) else f"text.{name}",
    )
    assert "text.ln_final.bias" in names and "text.positional_embedding" in names
    edit(folder / "open_clip_config.json", model_cfg__custom_text=True)
    assert_same(pretrained.read(folder).variables, model.variables)


DEFAULTS = {
    "model_cfg": {"custom_text": False, "init_logit_scale": 2.6592, "init_logit_bias": None,
                  "output_dict": True, "cast_dtype": "fp32", "multimodal_cfg": None},
    "vision_cfg": {"ls_init_value": None, "patch_dropout": 0.5, "attentional_pool": False,
                   "attn_pooler_queries": 256, "attn_pooler_heads": 8, "no_ln_pre": False,
                   "pos_embed_type": "learnable", "pool_type": "tok", "act_kwargs": {},
                   "timm_model_name": None, "timm_pool": "avg", "timm_proj": "linear",
                   "timm_drop": 0.0, "block_type": "default", "of_a_later_version": False},
    "text_cfg": {"embed_cls": False, "pad_id": 0, "eos_id": 2, "pool_type": "argmax",
                 "proj_type": "linear", "proj_bias": False, "norm_kwargs": None,
                 "hf_model_name": None, "hf_model_pretrained": True, "hf_proj_type": "mlp",
                 "hf_pooler_type": "mean_pooler", "hf_tokenizer_name": "", "block_type": None},
}  # fmt: skip


def described(preset, **parts):
    """An open_clip config of a preset, with these keys in its parts, and the model."""
    model = random_model(preset, end_last=True)
    content = open_clip.describe(model.config)
    found = content["model_cfg"]
    for part, keys in parts.items():
        (found if part == "model_cfg" else found[part]).update(keys)
    return content, model.config


@pytest.mark.parametrize("preset", ["vit_nano8", "rn_nano"])
def test_explicit_defaults_are_of_a_model_like_ours(preset):
    content, config = described(preset, **DEFAULTS)
    assert open_clip.understand(content, config.text.end_id, "here") == config


@pytest.mark.parametrize("part, keys", [
    ("vision_cfg", {"pool_type": "avg"}),
    ("vision_cfg", {"attentional_pool": True}),
    ("vision_cfg", {"of_a_later_version": True}),
    ("text_cfg", {"pool_type": "last"}),
    ("text_cfg", {"proj_type": "none"}),
    ("text_cfg", {"no_causal_mask": True}),
    ("model_cfg", {"multimodal_cfg": {"width": 8}}),
])  # fmt: skip
def test_what_changes_the_model_is_refused_by_name(part, keys):
    content, config = described("vit_nano8", **{part: keys})
    with pytest.raises(UserError, match=f"here: {next(iter(keys))}="):
        open_clip.understand(content, config.text.end_id, "here")


def test_sizes_may_be_lists_of_equal_sides():
    content, config = described("vit_nano8", vision_cfg={"image_size": [32, 32]})
    content["model_cfg"]["vision_cfg"]["patch_size"] = [8, 8]
    content["preprocess_cfg"]["size"] = [32, 32]
    assert open_clip.understand(content, config.text.end_id, "here") == config
    content["preprocess_cfg"]["size"] = 64
    with pytest.raises(UserError, match="size=64; ours need 32"):
        open_clip.understand(content, config.text.end_id, "here")
    content["model_cfg"]["vision_cfg"]["image_size"] = [32, 64]
    with pytest.raises(UserError, match="no square"):
        open_clip.understand(content, config.text.end_id, "here")


def test_what_an_open_clip_config_leaves_out_is_open_clips_default():
    content = {"model_cfg": {"embed_dim": 512, "vision_cfg": {"patch_size": 32}, "text_cfg": {}}}
    found = open_clip.understand(content, 49407, "here")
    wanted = pretrained.clip.PRESETS["vit_b32"]
    assert found == replace(
        wanted, image=replace(wanted.image, image_size=224), text=replace(found.text)
    )
    assert (found.text.width, found.text.heads, found.text.depth) == (512, 8, 12)
    assert (found.text.vocab_size, found.text.context) == (49408, 77)


def test_a_folder_of_transformers_5_has_one_file_for_images_and_texts(copy):
    folder, model = copy("huggingface")
    own = folder / "preprocessor_config.json"
    images = json.loads(own.read_text())
    own.unlink()
    both = folder / "processor_config.json"
    both.write_text(json.dumps({"image_processor": images, "processor_class": "CLIPProcessor"}))
    back = pretrained.read(folder)
    assert back.config == model.config
    assert_same(back.variables, model.variables)
    both.write_text(json.dumps({"image_processor": images | {"resample": 2}}))
    with pytest.raises(UserError, match="of its images resample is 2"):
        pretrained.read(folder)
    both.write_text(json.dumps({"processor_class": "CLIPProcessor"}))
    with pytest.raises(UserError, match=r"no processor_config\.json with an image_processor"):
        pretrained.read(folder)


def test_what_transformers_itself_writes_is_read(copy, tmp_path):
    """In parts, with its own processor and tokenizer."""
    pytest.importorskip("torch")
    from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel, CLIPProcessor

    folder, model = copy("huggingface")
    theirs = tmp_path / "theirs"
    CLIPModel.from_pretrained(folder).save_pretrained(theirs, max_shard_size="100KB")
    words = AutoTokenizer.from_pretrained(folder)
    CLIPProcessor(CLIPImageProcessorPil.from_pretrained(folder), words).save_pretrained(theirs)
    names = {path.name for path in theirs.iterdir()}
    assert "model.safetensors.index.json" in names and "processor_config.json" in names
    assert "preprocessor_config.json" not in names
    back: Pretrained = pretrained.read(theirs)
    assert back.config == model.config
    assert_same(back.variables, model.variables)


def test_a_pytorch_file_that_is_cut_off_is_said_to_be_so(copy):
    torch = pytest.importorskip("torch")
    folder, _ = copy("open_clip")
    file = folder / "a.pt"
    torch.save({"weight": torch.zeros(1000)}, file)
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"a\.pt cannot be read \(.+\): is it whole"):
        tensor_files.read(file)


@pytest.mark.parametrize("layers", [129, [100, 1, 1, 28]])
def test_a_model_deeper_than_all_is_refused_before_it_is_made(copy, layers):
    folder, _ = copy("open_clip")
    content = json.loads((folder / "open_clip_config.json").read_text())
    content["model_cfg"]["vision_cfg"]["layers"] = layers
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="a size in it is beyond all models"):
        pretrained.read(folder)
