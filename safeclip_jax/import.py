"""`python -m safeclip_jax.import` takes in another program's model."""

from safeclip_jax.commands.import_ import cli

if __name__ == "__main__":
    cli()
