"""What `export` and `import` share: a model read from one layout and written in another."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import safeclip_jax
from safeclip_jax.commands import command_line
from safeclip_jax.commands.command_line import Parser
from safeclip_jax.errors import UserError, said_by
from safeclip_jax.inference.model import Model
from safeclip_jax.report import pages
from safeclip_jax.system import host, json_text
from safeclip_jax.weights import pretrained
from safeclip_jax.weights.write import layout_for, write

TOLERANCE = 1e-6


def parser(command: str, description: str, examples: str, more: str) -> Parser:
    """The flags of both commands."""
    made = command_line.parser(command, description, examples, more)
    made.add_argument("--model", required=True, type=Path, help="folder or file to read")
    made.add_argument("--out", required=True, type=Path, help="folder to write")
    made.add_argument("--preset", default="", help="of a bare file of tensors: vit_b32, rn50, …")
    made.add_argument("--activation", default="", help="of a bare file: gelu or quick_gelu")
    return made


def convert(arguments: argparse.Namespace, layout: str) -> int:
    """Reads, writes, reads what was written, and compares both models' embeddings.

    Args:
      arguments: of the command.
      layout: to write; empty: the first in `LAYOUTS` that holds the model.
    """
    with said_by("--model"):
        model = pretrained.read(arguments.model, arguments.preset, arguments.activation)
    if not layout and (layout := layout_for(model.config)) != "huggingface":
        print(f"--format={layout} was chosen: transformers' CLIPModel cannot hold this model")
    write(model, arguments.out, layout)
    _write_card(arguments.model, layout, model, arguments.out / "README.md")
    difference = _compare(Model(model), safeclip_jax.load(arguments.out))
    if difference > TOLERANCE:
        raise UserError(f"{arguments.out} does not give the same embeddings (by {difference:.1e})")
    count = sum(np.size(array) for array in jax.tree.leaves(model.variables))
    print(f"{arguments.out}: {layout}, {count / 1e6:.1f} M parameters and statistics")
    print(f"read again, its embeddings differ by at most {difference:.1e}")
    return 0


def _compare(one: Model, other: Model) -> float:
    """Largest difference between embeddings of noise and of a few captions."""
    side = one.config.image.image_size
    images = list(np.random.default_rng(0).integers(0, 256, (4, side, side, 3), dtype=np.uint8))
    texts = ["a red circle", "A photo of a dog, 2 cats & a café.", "x"]
    pairs = (
        (one.embed_images(images), other.embed_images(images)),
        (one.embed_texts(texts), other.embed_texts(texts)),
    )
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def _write_card(source: Path, layout: str, model: pretrained.Pretrained, path: Path) -> None:
    """The model card: what it is, how to use it, and the figures of its run if it is one."""
    found: dict[str, Any] = {"results": None, "config": None}
    if (source / "results.json").is_file():
        found = {name: json_text.read_file(source / f"{name}.json") for name in found}
    pages.write(
        path, "model_card.md", layout=layout, origin=model.origin, model=model.config, **found
    )


def run(made: Parser, argv: Sequence[str], layout: str = "") -> int:
    """Runs a command; `layout` is what it writes where there is no flag for it."""
    flags, _ = command_line.parse(made, argv)
    host.set_up_jax()
    return convert(flags, layout or flags.format)
