"""Writes a trained model for another program: `python -m safeclip_jax.export`, or `safeclip-jax export`."""

from safeclip_jax.commands.export import cli

if __name__ == "__main__":
    cli()
