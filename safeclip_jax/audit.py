"""`python -m safeclip_jax.audit` tells whether data is poisoned."""

from safeclip_jax.commands import console

if __name__ == "__main__":
    console.cli("audit")
