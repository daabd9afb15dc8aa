"""`python -m safeclip_jax.poison` writes a poisoned copy of a data set."""

from safeclip_jax.commands.poison import cli

if __name__ == "__main__":
    cli()
