"""`python -m safeclip_jax.main` trains CLIP, defended or not."""

from safeclip_jax.commands.train import cli

if __name__ == "__main__":
    cli()
