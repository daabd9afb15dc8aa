"""`python -m safeclip_jax.prepare` writes data once in the form that trains fastest."""

from safeclip_jax.commands import console

if __name__ == "__main__":
    console.cli("prepare")
