"""Reads a trained model, whoever wrote it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from safeclip_jax.checkpoints import variables
from safeclip_jax.data import clip_vocabulary
from safeclip_jax.data import tokenizer as tokenizers
from safeclip_jax.data.tokenizer import Tokenizer
from safeclip_jax.errors import UserError, first_line, unknown
from safeclip_jax.models import clip
from safeclip_jax.models.clip import CLIP, CLIPConfig, Variables
from safeclip_jax.models.transformer import ACTIVATIONS
from safeclip_jax.system import json_text
from safeclip_jax.weights import huggingface, links, native, open_clip, positions, tensor_files
from safeclip_jax.weights.links import Link


@dataclass(frozen=True)
class Pretrained:
    """A model on the host.

    Attributes:
      config: shape and preprocessing.
      variables: float32 arrays of all its collections.
      tokenizer: of its captions.
      origin: where it was read.
    """

    config: CLIPConfig
    variables: Variables
    tokenizer: Tokenizer
    origin: str


def read(path: Path, preset: str = "", activation: str = "") -> Pretrained:
    """Reads a run's folder, or a model of ours, of Hugging Face's or of open_clip's.

    Args:
      path: a folder; or a file of tensors in open_clip's layout, which says neither its
        shape nor its activation.
      preset, activation: for such a file, as in `models.clip.configure`.

    Raises:
      UserError: if there is no model, or it is not like ours; it names file and reason.
    """
    if path.is_file():
        return _read_file(path, preset, activation)
    if not path.is_dir():
        raise UserError(f"{path} does not exist: give a run's folder or a model's")
    for marker, reader in _READERS.items():
        if (path / marker).exists():
            return reader(path)
    raise UserError(f"{path} holds no model: none of {', '.join(_READERS)} is there")


def fitted(model: Pretrained, config: CLIPConfig, where: str) -> Variables:
    """The model's arrays for a config that may ask for another resolution.

    Raises:
      UserError: if the config asks for another model; it names the key that differs.
    """
    resized = replace(model.config, image=model.config.image.fitted(config.image.image_size))
    differing = _difference(asdict(resized), asdict(config))
    if differing or type(model.config.image) is not type(config.image):
        what = differing or "the image tower is of another kind"
        raise UserError(f"{where} is another model than the config's: {what}")
    if resized == model.config:
        return model.variables
    shapes = shapes_of(config)

    def fit(place: Any, array: np.ndarray, wanted: Any) -> np.ndarray:
        names = [entry.key for entry in place]
        if names[:2] == ["params", "image"] and names[-1] == "positions":
            return positions.resize(array, wanted.shape[0])
        return array

    return jax.tree.map_with_path(fit, model.variables, shapes)


def _difference(there: dict[str, Any], here: dict[str, Any], prefix: str = "") -> str:
    """The first key that differs, as `key: there X, here Y`; empty if none does."""
    for key in there.keys() | here.keys():
        a, b = there.get(key), here.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            inner = _difference(a, b, f"{prefix}{key}.")
            if inner:
                return inner
        elif a != b:
            return f"{prefix}{key}: there {a}, here {b}"
    return ""


@functools.cache
def shapes_of(config: CLIPConfig) -> Any:
    """Shapes of all arrays of a model, by collection."""
    size = config.image.image_size
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    tokens = jax.ShapeDtypeStruct((1, config.text.context), jnp.int32)
    return jax.eval_shape(CLIP(config).init, jax.random.key(0), images, tokens)


def _read_arrays(
    links_of: Callable[[CLIPConfig], Sequence[Link]], config: CLIPConfig, path: Path
) -> Variables:
    return links.read(links_of(config), tensor_files.read(path), shapes_of(config), str(path))


def _read_run(folder: Path) -> Pretrained:
    content = _json(folder / "config.json")
    if "model" not in content:
        return _read_huggingface(folder, content)
    model = _objects(content, "model")
    context = _objects(content, "data").get("context")
    lacking = {"preset", "image_size", "activation", "pool"} - model.keys()
    if lacking or not isinstance(context, int):
        raise UserError(
            f"{folder}/config.json describes no model: {sorted(lacking)[:1] or context}"
        )
    tokenizer = tokenizers.load(folder / "tokenizer.json", context)
    config = clip.configure(
        model["preset"],
        image_size=model["image_size"],
        context=context,
        vocab_size=tokenizer.vocab_size,
        end_id=tokenizer.end_id,
        activation=model["activation"],
        pool=model["pool"],
        mean=model.get("mean"),
        std=model.get("std"),
    )
    stored, shapes = variables.read_variables(folder), shapes_of(config)
    tensors = links.export(native.links_of(stored), stored)
    found = links.read(native.links_of(shapes), tensors, shapes, f"checkpoint of {folder}")
    return Pretrained(config, found, tokenizer, str(folder))


def _read_native(folder: Path) -> Pretrained:
    where = str(folder / native.CONFIG)
    content = _json(folder / native.CONFIG)
    config = _checked(lambda: native.understand(content, where), where)
    tokenizer = tokenizers.load(folder / "tokenizer.json", config.text.context)
    variables = _read_arrays(
        lambda c: native.links_of(shapes_of(c)), config, folder / native.WEIGHTS
    )
    return Pretrained(config, variables, tokenizer, str(folder))


def _read_huggingface(folder: Path, content: dict[str, Any]) -> Pretrained:
    images = _preprocessing(folder)
    text = _objects(content, "text_config")
    context, vocab_size = text.get("max_position_embeddings", 77), text.get("vocab_size")
    tokenizer = _tokenizer(folder, context, vocab_size)
    config = _checked(
        lambda: huggingface.understand(content, images, tokenizer.end_id, str(folder)), str(folder)
    )
    file = tensor_files.find(folder, (huggingface.WEIGHTS, "pytorch_model.bin"))
    variables = _read_arrays(huggingface.links_of, config, file)
    return Pretrained(config, variables, tokenizer, str(folder))


def _preprocessing(folder: Path) -> dict[str, Any]:
    """How a folder of Hugging Face's says that images are prepared; transformers 5 has one file
    for images and texts.
    """
    if (folder / huggingface.PREPROCESSOR).exists():
        return _json(folder / huggingface.PREPROCESSOR)
    found: dict[str, Any] = {}
    if (folder / huggingface.PROCESSOR).exists():
        found = _objects(_json(folder / huggingface.PROCESSOR), "image_processor")
    if not found:
        raise UserError(
            f"{folder} has no {huggingface.PREPROCESSOR} and no {huggingface.PROCESSOR} with an "
            "image_processor: how are images prepared?"
        )
    return found


def _read_open_clip(folder: Path) -> Pretrained:
    where, content = folder / open_clip.CONFIG, _json(folder / open_clip.CONFIG)
    text = _objects(content, "model_cfg", "text_cfg")
    tokenizer = _tokenizer(folder, text.get("context_length", 77), text.get("vocab_size"))
    config = _checked(
        lambda: open_clip.understand(content, tokenizer.end_id, str(where)), str(where)
    )
    file = tensor_files.find(folder, (open_clip.WEIGHTS, "open_clip_pytorch_model.bin"))
    tensors = open_clip.plain_names(tensor_files.read(file))
    variables = links.read(open_clip.links_of(config), tensors, shapes_of(config), str(file))
    return Pretrained(config, variables, tokenizer, str(folder))


def _read_file(path: Path, preset: str, activation: str) -> Pretrained:
    if not preset or not activation:
        raise UserError(
            f"{path} is a bare file of tensors and does not say its preset and activation, and "
            "the wrong activation is silently worse: give preset=NAME and activation=NAME "
            "(quick_gelu for OpenAI's weights)"
        )
    if preset not in clip.PRESETS:
        raise UserError(f"preset={preset}: {unknown('preset', preset, clip.PRESETS)}")
    if activation not in ACTIVATIONS:
        raise UserError(
            f"activation={activation}: {unknown('activation', activation, ACTIVATIONS)}"
        )
    tensors = open_clip.plain_names(tensor_files.read(path))
    if any(name.startswith("text_model.") for name in tensors):
        raise UserError(f"{path} is of Hugging Face's layout: give the folder with its config.json")
    context = len(tensors.get("positional_embedding", range(77)))
    words = tensors.get("token_embedding.weight")
    tokenizer = _tokenizer(path.parent, context, None if words is None else len(words))
    config = clip.configure(
        preset,
        image_size=clip.PRESETS[preset].image.image_size,
        context=context,
        vocab_size=tokenizer.vocab_size,
        end_id=tokenizer.end_id,
        activation=activation,
    )
    length = len(tensors.get(open_clip.positions_of(config), ()))
    if length > 1:
        side = round((length - 1) ** 0.5) * config.image.stride
        config = replace(config, image=config.image.fitted(side))
    layout = open_clip.links_of(config)
    try:
        variables = links.read(layout, tensors, shapes_of(config), str(path))
    except UserError as error:
        raise UserError(f"preset={preset} does not fit: {error}") from None
    return Pretrained(config, variables, tokenizer, str(path))


def _checked(understand: Callable[[], CLIPConfig], where: str) -> CLIPConfig:
    """The model that a file describes, if one of that shape can be made at all."""
    try:
        config = understand()
        numbers = [x for x in jax.tree.leaves(asdict(config)) if isinstance(x, int)]
        deepest = max(config.text.depth, sum(config.image.depths))
        if max(numbers) > _LARGEST or deepest > _DEEPEST:
            raise ValueError("a size in it is beyond all models")
        shapes_of(config)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{where} describes no model that can be made: {first_line(error)}"
        ) from None
    return config


def _objects(content: dict[str, Any], *names: str) -> dict[str, Any]:
    """The object inside of objects; empty if one of them is none."""
    found: Any = content
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


_LARGEST, _DEEPEST = 100_000_000, 128  # known models have at most 64 blocks in a tower


def _tokenizer(folder: Path, context: int, vocab_size: int | None) -> Tokenizer:
    """The folder's tokenizer, or CLIP's where it has none and the model is of its vocabulary."""
    if (folder / "tokenizer.json").exists():
        return tokenizers.load(folder / "tokenizer.json", context)
    if (folder / "vocab.json").exists():
        return tokenizers.of_folder(folder, context)
    if vocab_size not in (None, clip_vocabulary.SIZE):
        raise UserError(
            f"{folder} has no tokenizer.json, and the model's vocabulary of {vocab_size} is not "
            f"CLIP's own of {clip_vocabulary.SIZE}: put the model's tokenizer.json there"
        )
    return tokenizers.clips_own(context)


def _json(path: Path) -> dict[str, Any]:
    found = json_text.read_file(path)
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no JSON object")
    return found


_READERS: dict[str, Callable[[Path], Pretrained]] = {
    native.CONFIG: _read_native,
    open_clip.CONFIG: _read_open_clip,
    "config.json": _read_run,
}
