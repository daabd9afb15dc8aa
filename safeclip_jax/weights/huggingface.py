"""Hugging Face's layout of a CLIP model: ViTs only.

A folder holds `config.json`, `model.safetensors`, `preprocessor_config.json` (or, as transformers 5
writes it, `processor_config.json`) and the tokenizer's files.
"""

from __future__ import annotations

from typing import Any

from safeclip_jax.errors import UserError, first_line
from safeclip_jax.models.clip import CLIPConfig
from safeclip_jax.models.text import TextConfig
from safeclip_jax.models.transformer import ACTIVATIONS
from safeclip_jax.models.vit import ViTConfig
from safeclip_jax.system import hugging_face
from safeclip_jax.weights import links
from safeclip_jax.weights.links import Link

CONFIG, WEIGHTS = "config.json", "model.safetensors"
PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
_BICUBIC = 3
_LEGACY_END = 2  # in old configs, whatever the tokenizer's end token is
_EPSILON = 1e-5


def links_of(config: CLIPConfig) -> list[Link]:
    """All tensors of a model.

    Raises:
      UserError: if the layout has no place for the model.
    """
    vit = _plain(config)
    image, text = ("params", "image"), ("params", "text")
    vision, words = "vision_model.embeddings", "text_model.embeddings"
    projection = links.TRANSPOSED
    return [
        Link((*image, "class_token"), f"{vision}.class_embedding"),
        Link((*image, "positions"), f"{vision}.position_embedding.weight"),
        Link((*image, "patches", "kernel"), f"{vision}.patch_embedding.weight", links.CONVOLUTION),
        # Spelt so in transformers.
        *links.norm((*image, "norm_in"), "vision_model.pre_layrnorm"),
        *_transformer((*image, "transformer"), "vision_model", vit.depth),
        *links.norm((*image, "norm_out"), "vision_model.post_layernorm"),
        Link(("params", "image_projection", "kernel"), "visual_projection.weight", projection),
        Link((*text, "tokens", "embedding"), f"{words}.token_embedding.weight"),
        Link((*text, "positions"), f"{words}.position_embedding.weight"),
        *_transformer((*text, "transformer"), "text_model", config.text.depth),
        *links.norm((*text, "norm_out"), "text_model.final_layer_norm"),
        Link(("params", "text_projection", "kernel"), "text_projection.weight", projection),
        Link(("params", "log_scale"), "logit_scale"),
    ]


def _plain(config: CLIPConfig) -> ViTConfig:
    image = config.image
    if not isinstance(image, ViTConfig):
        raise UserError("Hugging Face's CLIPModel holds ViTs alone: use --format=open_clip")
    links.check_plain(image, "Hugging Face's CLIPModel")
    return image


def _transformer(ours: links.Path, theirs: str, depth: int) -> list[Link]:
    found: list[Link] = []
    for i in range(depth):
        block, name = (*ours, f"block_{i}"), f"{theirs}.encoder.layers.{i}"
        attention = (*block, "attention")
        found += links.norm((*block, "norm_attention"), f"{name}.layer_norm1")
        found += links.norm((*block, "norm_mlp"), f"{name}.layer_norm2")
        for letter in "qkv":
            found += links.dense((*attention, letter), f"{name}.self_attn.{letter}_proj")
        found += links.dense_out((*attention, "out"), f"{name}.self_attn.out_proj")
        found += links.dense((*block, "mlp_in"), f"{name}.mlp.fc1")
        found += links.dense((*block, "mlp_out"), f"{name}.mlp.fc2")
    return found


def describe(config: CLIPConfig, start_id: int, pad_id: int) -> dict[str, Any]:
    """The content of `config.json`; nothing is left to a reader's defaults."""
    image, text = _plain(config), config.text
    ends = {"bos_token_id": start_id, "eos_token_id": text.end_id, "pad_token_id": pad_id}
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "dtype": "float32",
        "initializer_factor": 1.0,
        "logit_scale_init_value": 2.6592,
        "projection_dim": config.embedding,
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": text.vocab_size,
            "max_position_embeddings": text.context,
            **ends,
            **_tower(text, config.embedding),
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            "image_size": image.image_size,
            "patch_size": image.patch,
            "num_channels": 3,
            **_tower(image, config.embedding),
        },
    }


def _tower(tower: TextConfig | ViTConfig, embedding: int) -> dict[str, Any]:
    return {
        "hidden_size": tower.width,
        "intermediate_size": int(tower.width * tower.mlp_ratio),
        "num_hidden_layers": tower.depth,
        "num_attention_heads": tower.heads,
        "hidden_act": tower.activation,
        "layer_norm_eps": _EPSILON,
        "attention_dropout": 0.0,
        "projection_dim": embedding,
    }


def preprocessing(config: CLIPConfig) -> dict[str, Any]:
    """The content of `preprocessor_config.json`."""
    side = config.image.image_size
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": side},
        "resample": _BICUBIC,
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(config.mean),
        "image_std": list(config.std),
    }


def understand(
    content: dict[str, Any], images: dict[str, Any], end_id: int, where: str
) -> CLIPConfig:
    """The model that a `config.json` describes.

    Args:
      content: of the file.
      images: how they are prepared, as in `preprocessor_config.json`.
      end_id: of the tokenizer.
      where: the folder, for errors.

    Raises:
      UserError: if it describes a model that is not like ours.
    """
    if content.get("model_type") != "clip":
        raise UserError(f"{where}: model_type is {content.get('model_type')!r}, not 'clip'")
    try:
        theirs: Any = hugging_face.transformers().CLIPConfig.from_dict(content)
        vision, text = theirs.vision_config, theirs.text_config
    except Exception as error:
        raise UserError(f"{where}/{CONFIG} is no CLIP config: {first_line(error)}") from None
    for tower in (vision, text):
        if tower.hidden_act not in ACTIVATIONS:
            raise UserError(f"{where}: hidden_act is {tower.hidden_act!r}; known: gelu, quick_gelu")
        if abs(tower.layer_norm_eps - _EPSILON) > 1e-12:
            raise UserError(f"{where}: layer_norm_eps is {tower.layer_norm_eps}, not {_EPSILON}")
    if vision.num_channels != 3:
        raise UserError(f"{where}: images have {vision.num_channels} channels, not 3")
    _check_end(text.eos_token_id, text.vocab_size, end_id, where)
    _check_preprocessing(images, vision.image_size, where)
    return CLIPConfig(
        ViTConfig(
            image_size=vision.image_size,
            patch=vision.patch_size,
            **_ours(vision),
        ),
        TextConfig(
            context=text.max_position_embeddings,
            vocab_size=text.vocab_size,
            end_id=end_id,
            **_ours(text),
        ),
        embedding=theirs.projection_dim,
        mean=tuple(images["image_mean"]),
        std=tuple(images["image_std"]),
    )


def _ours(tower: Any) -> dict[str, Any]:
    return {
        "width": tower.hidden_size,
        "depth": tower.num_hidden_layers,
        "heads": tower.num_attention_heads,
        "mlp_ratio": tower.intermediate_size / tower.hidden_size,
        "activation": tower.hidden_act,
    }


def _check_end(configured: int, vocab_size: int, end_id: int, where: str) -> None:
    """`eos_token_id` says where the text tower is read: 2, at the largest id; else, at it."""
    read_at = vocab_size - 1 if configured == _LEGACY_END else configured
    if read_at != end_id:
        raise UserError(
            f"{where}: eos_token_id={configured} reads the text at token {read_at}, but the "
            f"tokenizer's end token is {end_id}"
        )


def _check_preprocessing(found: dict[str, Any], image_size: int, where: str) -> None:
    """Raises `UserError` if images are prepared in another way than ours."""

    def side(value: Any) -> Any:
        return next(iter(value.values())) if isinstance(value, dict) and value else value

    size = found.get("size")
    checks = (
        ("resample", found.get("resample"), _BICUBIC),
        ("size", side(size), image_size),
        ("crop_size", side(found.get("crop_size")), image_size),
        ("do_center_crop", found.get("do_center_crop"), True),
        ("do_normalize", found.get("do_normalize"), True),
    )
    for key, value, wanted in checks:
        if value != wanted:
            raise UserError(f"{where}: of its images {key} is {value!r}, ours need {wanted!r}")
    for key in ("image_mean", "image_std"):
        if not isinstance(found.get(key), list) or len(found[key]) != 3:
            raise UserError(f"{where}: of its images {key} is {found.get(key)!r}")
