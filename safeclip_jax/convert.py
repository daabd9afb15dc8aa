"""What `export` and `import` share: a model read from one layout and written in another."""

from __future__ import annotations

import argparse
import json
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

import safeclip_jax
from safeclip_jax import command_line
from safeclip_jax.errors import UserError
from safeclip_jax.model import Model
from safeclip_jax.weights import pretrained
from safeclip_jax.weights.write import LAYOUTS, write

TOLERANCE = 1e-6


def parser(program: str, description: str, example: str) -> argparse.ArgumentParser:
    """The flags of both commands."""
    made = argparse.ArgumentParser(
        program,
        description=description,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--model", required=True, type=Path, help="folder or file to read")
    made.add_argument("--out", required=True, type=Path, help="folder to write")
    made.add_argument("--preset", default="", help="of a bare file of tensors: vit_b32, rn50, …")
    made.add_argument("--activation", default="", help="of a bare file: gelu or quick_gelu")
    return made


def convert(arguments: argparse.Namespace, layout: str) -> int:
    """Reads, writes, reads what was written, and compares both models' embeddings."""
    model = pretrained.read(arguments.model, arguments.preset, arguments.activation)
    write(model, arguments.out, layout)
    (arguments.out / "README.md").write_text(_card(arguments.model, layout, model), "utf-8")
    difference = _compare(Model(model), safeclip_jax.load(arguments.out))
    if difference > TOLERANCE:
        raise UserError(f"{arguments.out} does not give the same embeddings (by {difference:.1e})")
    count = sum(np.size(array) for array in _leaves(model.variables))
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


def _card(source: Path, layout: str, model: pretrained.Pretrained) -> str:
    """The model card: what it is, how to use it, and the figures of its run."""
    found: dict[str, Any] = {}
    for name in ("results", "config"):
        path = source / f"{name}.json"
        found[name] = json.loads(path.read_text()) if path.is_file() else None
    if found["results"] is None:
        found["config"] = None
    template = (resources.files("safeclip_jax") / "templates" / "model_card.md").read_text("utf-8")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(
        layout=layout, origin=model.origin, model=model.config, **found
    )


def _leaves(tree: Any) -> list[Any]:
    import jax

    return jax.tree.leaves(tree)


def run(made: argparse.ArgumentParser, layout: str = "") -> None:
    """Runs a command; `layout` is what it writes where there is no flag for it."""
    command_line.set_up_jax()
    arguments = made.parse_args()
    layout = layout or arguments.format
    sys.exit(command_line.resumable(lambda: convert(arguments, layout)))


def formats() -> list[str]:
    """Names of the layouts."""
    return sorted(LAYOUTS)
