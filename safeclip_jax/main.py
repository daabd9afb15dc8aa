"""Trains CLIP, defended or not: `python -m safeclip_jax.main`, or `safeclip-jax train`."""

from safeclip_jax.commands.train import cli

if __name__ == "__main__":
    cli()
