"""`python -m safeclip_jax.export` writes a trained model for another program."""

from safeclip_jax.commands import command_line, export

if __name__ == "__main__":
    command_line.run(export.main)
