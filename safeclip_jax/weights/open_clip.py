"""open_clip's layout, which is OpenAI's: ViTs and ResNets.

A folder holds `open_clip_config.json` and `open_clip_model.safetensors`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from safeclip_jax.errors import UserError
from safeclip_jax.models.clip import CLIPConfig
from safeclip_jax.models.resnet import ResNetConfig
from safeclip_jax.models.text import TextConfig
from safeclip_jax.models.tower import ImageTower
from safeclip_jax.models.vit import ViTConfig
from safeclip_jax.weights import links
from safeclip_jax.weights.links import Link

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
# open_clip's own defaults of what our towers know.
_VISION = {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16, "head_width": 64,
           "mlp_ratio": 4.0}  # fmt: skip
_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12,
         "mlp_ratio": 4.0}  # fmt: skip
_MODEL = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
# What other keys may say of towers like ours, beside nothing; those of _ANY change no embedding.
_ANY = object()
_PLAIN: dict[str, Any] = {
    **dict.fromkeys(("custom_text", "init_logit_scale", "nonscalar_logit_scale"), _ANY),
    **dict.fromkeys(("cast_dtype", "output_dict"), _ANY),
    "block_type": "default",
}
_PLAIN_VISION = _PLAIN | {
    **dict.fromkeys(("patch_dropout", "attn_pooler_queries", "attn_pooler_heads"), _ANY),
    **dict.fromkeys(("timm_pool", "timm_proj"), _ANY),
    "pos_embed_type": "learnable",
    "pool_type": "tok",
}
_PLAIN_TEXT = _PLAIN | {
    **dict.fromkeys(("hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs"), _ANY),
    **dict.fromkeys(("hf_model_pretrained", "hf_proj_type", "hf_pooler_type"), _ANY),
    **dict.fromkeys(("pad_id", "eos_id"), _ANY),
    "pool_type": "argmax",
    "proj_type": "linear",
}
_PREPROCESSING = {"mode": "RGB", "interpolation": "bicubic", "resize_mode": "shortest"}


def links_of(config: CLIPConfig) -> list[Link]:
    """All tensors of a model.

    Raises:
      UserError: if the layout has no place for the model.
    """
    text = ("params", "text")
    return [
        *_layout(config).links(config.image),
        Link((*text, "tokens", "embedding"), "token_embedding.weight"),
        Link((*text, "positions"), "positional_embedding"),
        *_transformer((*text, "transformer"), "transformer", config.text.depth),
        *links.norm((*text, "norm_out"), "ln_final"),
        Link(("params", "text_projection", "kernel"), "text_projection"),
        Link(("params", "log_scale"), "logit_scale"),
    ]


def plain_names(tensors: links.Tensors) -> links.Tensors:
    """The tensors under the names of `CLIP`; in `CustomTextCLIP` the text tower's begin so."""
    return {name.removeprefix("text."): tensor for name, tensor in tensors.items()}


def positions_of(config: CLIPConfig) -> str:
    """The tensor of the image tower's positions: one for each place, and one."""
    return _layout(config).positions


def _layout(config: CLIPConfig) -> _TowerLayout:
    return _LAYOUTS[type(config.image)]


def _vit(config: ViTConfig) -> list[Link]:
    links.check_plain(config, "open_clip")
    image = ("params", "image")
    return [
        Link((*image, "class_token"), "visual.class_embedding"),
        Link((*image, "positions"), "visual.positional_embedding"),
        Link((*image, "patches", "kernel"), "visual.conv1.weight", links.CONVOLUTION),
        *links.norm((*image, "norm_in"), "visual.ln_pre"),
        *_transformer((*image, "transformer"), "visual.transformer", config.depth),
        *links.norm((*image, "norm_out"), "visual.ln_post"),
        Link(("params", "image_projection", "kernel"), "visual.proj"),
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
    heads = config.features // 64  # as open_clip makes them
    if config.heads != heads:
        raise UserError(f"open_clip gives a ResNet {heads} heads, not {config.heads}")
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
    text = config.text
    return {
        "model_cfg": {
            "embed_dim": config.embedding,
            "quick_gelu": text.activation == "quick_gelu",
            "vision_cfg": _layout(config).describe(config.image),
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


def _describe_vit(image: ViTConfig) -> dict[str, Any]:
    return {
        "image_size": image.image_size,
        "width": image.width,
        "layers": image.depth,
        "patch_size": image.patch,
        "head_width": image.width // image.heads,
        "mlp_ratio": image.mlp_ratio,
    }


def _describe_resnet(image: ResNetConfig) -> dict[str, Any]:
    return {"image_size": image.image_size, "width": image.width, "layers": list(image.blocks)}


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
        vision, text = _VISION | model["vision_cfg"], _TEXT | model["text_cfg"]
        _refuse_others(model, _MODEL, _PLAIN, where)
        _refuse_others(vision, _VISION, _PLAIN_VISION, where)
        _refuse_others(text, _TEXT, _PLAIN_TEXT, where)
        vision |= {key: _side(vision[key]) for key in ("image_size", "patch_size")}
        _check_preprocessing(preprocessing, vision["image_size"], where)
        if end_id != text["vocab_size"] - 1:
            raise UserError(
                f"{where}: the tokenizer's end token is {end_id}, but open_clip reads the text "
                f"at the largest id, {text['vocab_size'] - 1}"
            )
        activation = "quick_gelu" if model.get("quick_gelu", False) else "gelu"
        layout = _LAYOUTS[ResNetConfig if isinstance(vision["layers"], list) else ViTConfig]
        return CLIPConfig(
            layout.understand(vision, activation),
            TextConfig(
                context=text["context_length"],
                vocab_size=text["vocab_size"],
                end_id=end_id,
                width=text["width"],
                depth=text["layers"],
                heads=text["heads"],
                mlp_ratio=float(text["mlp_ratio"]),
                activation=activation,
            ),
            embedding=model["embed_dim"],
            mean=tuple(preprocessing.get("mean", CLIPConfig.mean)),
            std=tuple(preprocessing.get("std", CLIPConfig.std)),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{where} is no open_clip config: {error!r}") from None


def _understand_vit(found: Mapping[str, Any], activation: str) -> ViTConfig:
    return ViTConfig(
        image_size=found["image_size"],
        patch=found["patch_size"],
        width=found["width"],
        depth=found["layers"],
        heads=found["width"] // found["head_width"],
        mlp_ratio=float(found["mlp_ratio"]),
        activation=activation,
    )


def _understand_resnet(found: Mapping[str, Any], activation: str) -> ResNetConfig:
    width, heads = found["width"], found["width"] * 32 // found["head_width"]
    return ResNetConfig(found["image_size"], tuple(found["layers"]), width, heads)


def _side(value: Any) -> Any:
    """The side of a square, which may be given as both."""
    if not isinstance(value, list):
        return value
    first, second = value
    if first != second:
        raise ValueError(f"{value} is no square")
    return first


def _refuse_others(
    found: Mapping[str, Any], known: Iterable[str], plain: Mapping[str, Any], where: str
) -> None:
    for key in sorted(found.keys() - set(known)):
        if found[key] and plain.get(key) not in (_ANY, found[key]):
            raise UserError(f"{where}: {key}={found[key]!r} is not of a CLIP model like ours")


def _check_preprocessing(found: dict[str, Any], image_size: int, where: str) -> None:
    for key, wanted in (_PREPROCESSING | {"size": image_size}).items():
        if _side(found.get(key, wanted)) != wanted:
            raise UserError(f"{where}: images are prepared with {key}={found[key]!r}; ours need "
                            f"{wanted!r}")  # fmt: skip


@dataclass(frozen=True)
class _TowerLayout:
    """How an image tower stands in the files.

    Attributes:
      links: of a tower's config.
      positions: the tensor of its positions.
      describe: `vision_cfg` of a tower's config.
      understand: the config of a `vision_cfg` and an activation.
    """

    links: Callable[[Any], list[Link]]
    positions: str
    describe: Callable[[Any], dict[str, Any]]
    understand: Callable[[Mapping[str, Any], str], ImageTower]


_LAYOUTS: dict[type, _TowerLayout] = {
    ViTConfig: _TowerLayout(_vit, "visual.positional_embedding", _describe_vit, _understand_vit),
    ResNetConfig: _TowerLayout(
        _resnet, "visual.attnpool.positional_embedding", _describe_resnet, _understand_resnet
    ),
}
