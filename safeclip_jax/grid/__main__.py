"""`python -m safeclip_jax.grid` attacks × defences × seeds in one table."""

from safeclip_jax.commands.grid import cli

if __name__ == "__main__":
    cli()
