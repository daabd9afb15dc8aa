"""`safeclip-jax export`: writes a trained model for another program."""

from __future__ import annotations

from collections.abc import Sequence

from safeclip_jax.commands import convert
from safeclip_jax.commands.command_line import Parser
from safeclip_jax.weights.write import LAYOUTS

_EXAMPLES = """
--model=runs/vitb32-safeclip-seed0 --out=my-clip
--model=runs/rn50-safeclip-seed0 --format=open_clip --out=my-rn50
--model=runs/demo-safeclip-seed0 --format=native --out=my-demo
"""
_MORE = """
transformers:  CLIPModel.from_pretrained("my-clip"), CLIPProcessor.from_pretrained("my-clip")
open_clip:     open_clip.create_model_and_transforms("local-dir:my-rn50")
here:          safeclip_jax.load("my-demo")
"""


def _parser() -> Parser:
    made = convert.parser(
        "export",
        "Writes a model with its tokenizer, preprocessing and a model card.",
        _EXAMPLES,
        _MORE,
    )
    layouts = list(LAYOUTS)
    meaning = "what to write; default: huggingface, or the next that can hold the model"
    made.add_argument("--format", default="", choices=layouts, help=meaning)
    return made


def main(argv: Sequence[str]) -> int:
    return convert.run(_parser(), argv)
