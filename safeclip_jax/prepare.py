"""Writes data once in the form that trains fastest: `python -m safeclip_jax.prepare`, or `safeclip-jax prepare`."""

from safeclip_jax.commands.prepare import cli

if __name__ == "__main__":
    cli()
