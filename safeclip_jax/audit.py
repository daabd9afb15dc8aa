"""`python -m safeclip_jax.audit` tells whether data is poisoned."""

from safeclip_jax.commands import audit, command_line

if __name__ == "__main__":
    command_line.run(audit.main)
