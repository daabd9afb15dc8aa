"""Takes in another program's model: `python -m safeclip_jax.import`, or `safeclip-jax import`."""

from safeclip_jax.commands.import_ import cli

if __name__ == "__main__":
    cli()
