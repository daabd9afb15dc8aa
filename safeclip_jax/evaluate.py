"""Evaluates trained models: `python -m safeclip_jax.evaluate`, or `safeclip-jax evaluate`."""

from safeclip_jax.commands.evaluate import cli

if __name__ == "__main__":
    cli()
