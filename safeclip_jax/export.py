"""`python -m safeclip_jax.export` writes a trained model for another program."""

from safeclip_jax.commands import console

if __name__ == "__main__":
    console.cli("export")
