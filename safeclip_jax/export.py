"""`python -m safeclip_jax.export` writes a trained model for another program."""

from safeclip_jax.commands.export import cli

if __name__ == "__main__":
    cli()
