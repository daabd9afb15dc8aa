"""`python -m safeclip_jax.main` trains CLIP, defended or not."""

from safeclip_jax.commands import command_line, train

if __name__ == "__main__":
    command_line.run(train.main)
