"""open_clip's layout, which is OpenAI's: ViTs and ResNets.

A folder holds `open_clip_config.json` and `open_clip_model.safetensors`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from safeclip_jax.errors import UserError
from safeclip_jax.models.clip import CLIPConfig
from safeclip_jax.models.resnet import ResNetConfig
from safeclip_jax.models.text import TextConfig
from safeclip_jax.models.vit import ViTConfig
from safeclip_jax.weights import links
from safeclip_jax.weights.links import Link

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
_VISION = {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio"}
_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
_MODEL = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
# Names of tokenizers change nothing in the model; a tokenizer comes with the folder.
_NAMES = {"hf_tokenizer_name", "tokenizer_kwargs"}
_PREPROCESSING = {"mode": "RGB", "interpolation": "bicubic", "resize_mode": "shortest"}


def links_of(config: CLIPConfig) -> list[Link]:
    """All tensors of a model.

    Raises:
      UserError: if the layout has no place for the model.
    """
    image, text = ("params", "image"), ("params", "text")
    if isinstance(config.image, ResNetConfig):
        tower = _resnet(config.image)
    else:
        links.check_plain(config.image, "open_clip")
        tower = [
            Link((*image, "class_token"), "visual.class_embedding"),
            Link((*image, "positions"), "visual.positional_embedding"),
            Link((*image, "patches", "kernel"), "visual.conv1.weight", links.CONVOLUTION),
            *links.norm((*image, "norm_in"), "visual.ln_pre"),
            *_transformer((*image, "transformer"), "visual.transformer", config.image.depth),
            *links.norm((*image, "norm_out"), "visual.ln_post"),
            Link(("params", "image_projection", "kernel"), "visual.proj"),
        ]
    return [
        *tower,
        Link((*text, "tokens", "embedding"), "token_embedding.weight"),
        Link((*text, "positions"), "positional_embedding"),
        *_transformer((*text, "transformer"), "transformer", config.text.depth),
        *links.norm((*text, "norm_out"), "ln_final"),
        Link(("params", "text_projection", "kernel"), "text_projection"),
        Link(("params", "log_scale"), "logit_scale"),
    ]


def _transformer(ours: links.Path, theirs: str, depth: int) -> list[Link]:
    found: list[Link] = []
    for i in range(depth):
        block, name = (*ours, f"block_{i}"), f"{theirs}.resblocks.{i}"
        attention = (*block, "attention")
        found += links.norm((*block, "norm_attention"), f"{name}.ln_1")
        found += links.norm((*block, "norm_mlp"), f"{name}.ln_2")
        for part, letter in enumerate("qkv"):
            kernel, bias = links.dense((*attention, letter), f"{name}.attn.in_proj")
            found += [
                Link(kernel.ours, f"{name}.attn.in_proj_weight", kernel.layout, part, 3),
                Link(bias.ours, f"{name}.attn.in_proj_bias", bias.layout, part, 3),
            ]
        found += links.dense_out((*attention, "out"), f"{name}.attn.out_proj")
        found += links.dense((*block, "mlp_in"), f"{name}.mlp.c_fc")
        found += links.dense((*block, "mlp_out"), f"{name}.mlp.c_proj")
    return found


def _resnet(config: ResNetConfig) -> list[Link]:
    found: list[Link] = []
    for i in (1, 2, 3):
        found += _convolution(("image",), f"stem_{i}", f"visual.conv{i}")
        found += _batch_norm(("image",), f"stem_norm_{i}", f"visual.bn{i}")
    for stage, count in enumerate(config.blocks, 1):
        for i in range(count):
            ours = ("image", f"stage_{stage}_block_{i}")
            theirs = f"visual.layer{stage}.{i}"
            for j in (1, 2, 3):
                found += _convolution(ours, f"conv_{j}", f"{theirs}.conv{j}")
                found += _batch_norm(ours, f"norm_{j}", f"{theirs}.bn{j}")
            if not i:
                found += _convolution(ours, "conv_shortcut", f"{theirs}.downsample.0")
                found += _batch_norm(ours, "norm_shortcut", f"{theirs}.downsample.1")
    pool = ("params", "image", "pool")
    found.append(Link((*pool, "positions"), "visual.attnpool.positional_embedding"))
    for letter in "qkv":
        found += links.dense((*pool, letter), f"visual.attnpool.{letter}_proj")
    return found + links.dense(("params", "image_projection"), "visual.attnpool.c_proj")


def _convolution(ours: links.Path, name: str, theirs: str) -> list[Link]:
    return [Link(("params", *ours, name, "kernel"), f"{theirs}.weight", links.CONVOLUTION)]


def _batch_norm(ours: links.Path, name: str, theirs: str) -> list[Link]:
    statistics = ("batch_stats", *ours, name)
    return [
        *links.norm(("params", *ours, name), theirs),
        Link((*statistics, "mean"), f"{theirs}.running_mean"),
        Link((*statistics, "var"), f"{theirs}.running_var"),
    ]


def describe(config: CLIPConfig) -> dict[str, Any]:
    """The content of `open_clip_config.json`."""
    image, text = config.image, config.text
    vision: dict[str, Any] = {"image_size": image.image_size, "width": image.width}
    if isinstance(image, ResNetConfig):
        vision["layers"] = list(image.blocks)
    else:
        vision |= {
            "layers": image.depth,
            "patch_size": image.patch,
            "head_width": image.width // image.heads,
            "mlp_ratio": image.mlp_ratio,
        }
    return {
        "model_cfg": {
            "embed_dim": config.embedding,
            "quick_gelu": text.activation == "quick_gelu",
            "vision_cfg": vision,
            "text_cfg": {
                "context_length": text.context,
                "vocab_size": text.vocab_size,
                "width": text.width,
                "heads": text.heads,
                "layers": text.depth,
                "mlp_ratio": text.mlp_ratio,
            },
        },
        "preprocess_cfg": {"mean": list(config.mean), "std": list(config.std), **_PREPROCESSING},
    }


def understand(content: dict[str, Any], end_id: int, where: str) -> CLIPConfig:
    """The model that an `open_clip_config.json` describes.

    Args:
      content: of the file.
      end_id: of the tokenizer, which must be its last id: the text tower is read at the
        largest one.
      where: the file, for errors.

    Raises:
      UserError: if it describes a model that is not like ours.
    """
    try:
        model, preprocessing = content["model_cfg"], content.get("preprocess_cfg", {})
        vision, text = model["vision_cfg"], model["text_cfg"]
        resnet = isinstance(vision["layers"], list)
        _refuse_others(model, _MODEL, where)
        _refuse_others(vision, _VISION, where)
        _refuse_others(text, _TEXT | _NAMES, where)
        _check_preprocessing(preprocessing, where)
        if end_id != text["vocab_size"] - 1:
            raise UserError(
                f"{where}: the tokenizer's end token is {end_id}, but open_clip reads the text "
                f"at the largest id, {text['vocab_size'] - 1}"
            )
        activation = "quick_gelu" if model.get("quick_gelu", False) else "gelu"
        width = vision["width"]
        image: ResNetConfig | ViTConfig
        if resnet:
            image = ResNetConfig(
                vision["image_size"], tuple(vision["layers"]), width, width * 32 // 64
            )
        else:
            image = ViTConfig(
                image_size=vision["image_size"],
                patch=vision["patch_size"],
                width=width,
                depth=vision["layers"],
                heads=width // vision.get("head_width", 64),
                mlp_ratio=float(vision.get("mlp_ratio", 4.0)),
                activation=activation,
            )
        return CLIPConfig(
            image,
            TextConfig(
                context=text.get("context_length", 77),
                vocab_size=text["vocab_size"],
                end_id=end_id,
                width=text["width"],
                depth=text["layers"],
                heads=text["heads"],
                mlp_ratio=float(text.get("mlp_ratio", 4.0)),
                activation=activation,
            ),
            embedding=model["embed_dim"],
            mean=tuple(preprocessing.get("mean", CLIPConfig.mean)),
            std=tuple(preprocessing.get("std", CLIPConfig.std)),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where} is no open_clip config: {error!r}") from None


def _refuse_others(found: dict[str, Any], known: Iterable[str], where: str) -> None:
    for key in sorted(found.keys() - set(known)):
        if found[key] not in (None, False):
            raise UserError(f"{where}: {key}={found[key]!r} is not of a CLIP model like ours")


def _check_preprocessing(found: dict[str, Any], where: str) -> None:
    for key, wanted in _PREPROCESSING.items():
        if found.get(key, wanted) != wanted:
            raise UserError(f"{where}: images are prepared with {key}={found[key]!r}; ours need "
                            f"{wanted!r}")  # fmt: skip
