"""`safeclip-jax import`: takes in a model of another program."""

from __future__ import annotations

from collections.abc import Sequence

from safeclip_jax.commands import convert

_EXAMPLES = """
--model=clip-vit-base-patch32 --out=models/b32
--model=rn50.pt --preset=rn50 --activation=quick_gelu --out=rn50
"""
_MORE = """
Folders of Hugging Face and open_clip need no import: init_from and load() read them as they are.
"""


def main(argv: Sequence[str]) -> int:
    made = convert.parser(
        "import",
        "Writes another program's CLIP model in our own files, which need no PyTorch.",
        _EXAMPLES,
        _MORE,
    )
    return convert.run(made, argv, "native")
