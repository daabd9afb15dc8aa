"""`python -m safeclip_jax.prepare` writes data once in the form that trains fastest."""

from safeclip_jax.commands import command_line, prepare

if __name__ == "__main__":
    command_line.run(prepare.main)
