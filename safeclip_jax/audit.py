"""Tells whether a data set or a model is poisoned: `python -m safeclip_jax.audit`, or `safeclip-jax audit`."""

from safeclip_jax.commands.audit import cli

if __name__ == "__main__":
    cli()
