"""`python -m safeclip_jax.evaluate` evaluates trained models."""

from safeclip_jax.commands import console

if __name__ == "__main__":
    console.cli("evaluate")
