"""Attacks × defences × seeds: `python -m safeclip_jax.grid`, or `safeclip-jax grid`."""

from safeclip_jax.commands.grid import cli

if __name__ == "__main__":
    cli()
