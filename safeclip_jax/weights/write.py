"""Writes a model for another program, or for ours."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from safeclip_jax.errors import UserError, failed, unknown
from safeclip_jax.models.clip import CLIPConfig
from safeclip_jax.system import folders
from safeclip_jax.weights import huggingface, links, native, open_clip, tensor_files
from safeclip_jax.weights.pretrained import Pretrained, shapes_of


def write(model: Pretrained, folder: Path, layout: str) -> None:
    """Writes a model's folder; it appears whole or not at all.

    Args:
      model: to write.
      folder: which must not exist yet, or be empty.
      layout: a name in `LAYOUTS`.

    Raises:
      UserError: if the layout has no place for the model, or the folder is in use.
    """
    if layout not in LAYOUTS:
        raise unknown("format", layout, LAYOUTS)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already: choose another --out")
    try:
        with folders.writing(folder) as partial:
            LAYOUTS[layout](model, partial)
    except OSError as error:
        raise failed(f"{folder} cannot be written", error) from None


def _native(model: Pretrained, folder: Path) -> None:
    tensors = links.export(native.links_of(shapes_of(model.config)), model.variables)
    _json(folder / native.CONFIG, native.describe(model.config))
    tensor_files.write(folder / native.WEIGHTS, tensors, {})
    model.tokenizer.save(folder / "tokenizer.json")


def _huggingface(model: Pretrained, folder: Path) -> None:
    layout = huggingface.links_of(model.config)
    model = _end_last(model)
    tokenizer = model.tokenizer
    config = huggingface.describe(model.config, tokenizer.start_id, tokenizer.pad_id)
    _json(folder / huggingface.CONFIG, config)
    _json(folder / huggingface.PREPROCESSOR, huggingface.preprocessing(model.config))
    tensors = links.export(layout, model.variables)
    tensor_files.write(folder / huggingface.WEIGHTS, tensors, {"format": "pt"})
    tokenizer.save_for_transformers(folder)


def _open_clip(model: Pretrained, folder: Path) -> None:
    layout = open_clip.links_of(model.config)
    model = _end_last(model)
    _json(folder / open_clip.CONFIG, open_clip.describe(model.config))
    tensors = links.export(layout, model.variables)
    tensor_files.write(folder / open_clip.WEIGHTS, tensors, {"format": "pt"})
    model.tokenizer.save_for_transformers(folder)


def _end_last(model: Pretrained) -> Pretrained:
    """The same model with the end token's id as the last one, where others look for it."""
    text = model.config.text
    if text.end_id == text.vocab_size - 1:
        return model
    tokenizer, order = model.tokenizer.end_last()
    params = dict(model.variables["params"])
    params["text"] = dict(params["text"])
    embedding = np.asarray(params["text"]["tokens"]["embedding"])[order]
    params["text"]["tokens"] = {"embedding": embedding}
    return replace(
        model,
        config=replace(model.config, text=replace(text, end_id=text.vocab_size - 1)),
        variables={**model.variables, "params": params},
        tokenizer=tokenizer,
    )


def _json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def layout_for(config: CLIPConfig) -> str:
    """The first of `LAYOUTS` that has a place for a model; our own has one for all."""
    for layout, links_of in (
        ("huggingface", huggingface.links_of),
        ("open_clip", open_clip.links_of),
    ):
        with contextlib.suppress(UserError):
            links_of(config)
            return layout
    return "native"


# Those that most programs read first.
LAYOUTS: dict[str, Callable[[Pretrained, Path], None]] = {
    "huggingface": _huggingface,
    "open_clip": _open_clip,
    "native": _native,
}
