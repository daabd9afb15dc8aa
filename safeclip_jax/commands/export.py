"""Writes a trained model for another program: `python -m safeclip_jax.export`."""

from __future__ import annotations

from safeclip_jax.commands import convert
from safeclip_jax.weights.write import LAYOUTS

_EXAMPLE = """
examples:
  python -m safeclip_jax.export --model=runs/vitb32-safeclip-seed0 --out=my-clip
  python -m safeclip_jax.export --model=runs/rn50-safeclip-seed0 --format=open_clip --out=my-rn50

transformers:  CLIPModel.from_pretrained("my-clip"), CLIPProcessor.from_pretrained("my-clip")
open_clip:     open_clip.create_model_and_transforms("local-dir:my-rn50")
"""


def cli() -> None:
    """Runs the command with the program's arguments."""
    made = convert.parser(
        "export",
        "Writes a model with its tokenizer, preprocessing and a model card.",
        _EXAMPLE,
    )
    layouts = sorted(LAYOUTS)
    made.add_argument("--format", default="huggingface", choices=layouts, help="(huggingface)")
    convert.run(made)


if __name__ == "__main__":
    cli()
