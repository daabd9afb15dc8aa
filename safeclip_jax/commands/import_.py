"""Takes in a model of another program: `python -m safeclip_jax.import`."""

from __future__ import annotations

from safeclip_jax.commands import convert

_EXAMPLE = """
examples:
  python -m safeclip_jax.import --model=clip-vit-base-patch32 --out=models/b32
  python -m safeclip_jax.import --model=rn50.pt --preset=rn50 --activation=quick_gelu --out=rn50
  python -m safeclip_jax.main --config=configs/vitb32.py --config.init_from=models/b32

Folders of Hugging Face and open_clip need no import: init_from and load() read them as they are.
"""


def cli() -> None:
    """Runs the command with the program's arguments."""
    made = convert.parser(
        "import",
        "Writes another program's CLIP model in our own files, which need no PyTorch.",
        _EXAMPLE,
    )
    convert.run(made, "native")


if __name__ == "__main__":
    cli()
