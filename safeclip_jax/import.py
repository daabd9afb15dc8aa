"""`python -m safeclip_jax.import` takes in another program's model."""

from safeclip_jax.commands import console

if __name__ == "__main__":
    console.cli("import")
