"""`python -m safeclip_jax.evaluate` evaluates trained models."""

from safeclip_jax.commands.evaluate import cli

if __name__ == "__main__":
    cli()
