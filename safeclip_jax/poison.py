"""Writes a poisoned copy of a data set: `python -m safeclip_jax.poison`, or `safeclip-jax poison`."""

from safeclip_jax.commands.poison import cli

if __name__ == "__main__":
    cli()
