"""`python -m safeclip_jax.audit` tells whether data is poisoned."""

from safeclip_jax.commands.audit import cli

if __name__ == "__main__":
    cli()
