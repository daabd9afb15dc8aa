"""`safeclip-jax COMMAND …`: the installed program."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType

from safeclip_jax import __version__
from safeclip_jax.commands import program
from safeclip_jax.errors import UserError, nearest

COMMANDS = {
    "train": "trains CLIP, defended or not",
    "poison": "writes a poisoned copy of a data set",
    "grid": "attacks × defences × seeds, in one table",
    "evaluate": "evaluates trained models",
    "compare": "shows two finished runs side by side",
    "audit": "tells which pairs of a data set are poisoned",
    "prepare": "writes data once in the form that trains fastest",
    "export": "writes a trained model for another program",
    "import": "takes in another program's model",
}
_MODULES = {"import": "import_"}  # where the command's name can be none


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {command:{width}}  {what}" for command, what in COMMANDS.items()]
    name = program.PROGRAM
    return "\n".join(
        [
            f"usage: {name} COMMAND …",
            "",
            "CLIP pre-training that stays safe when the scraped data is poisoned.",
            "",
            *lines,
            "",
            f"{name} COMMAND --help says more.   first try: {name} train --config=demo",
        ]
    )


def command(name: str) -> ModuleType:
    """The module of a command, with its `main`."""
    return importlib.import_module(f"safeclip_jax.commands.{_MODULES.get(name, name)}")


def main(argv: Sequence[str]) -> int:
    """Runs the command that the first argument names with all further ones."""
    name, *rest = argv or ["--help"]
    if name in ("-h", "--help", "help"):
        print(_help())
        return 0
    if name in ("-V", "--version"):
        print(f"{program.PROGRAM} {__version__}")
        return 0
    if name not in COMMANDS:
        hint = nearest(name, COMMANDS) or f": the commands are {', '.join(COMMANDS)}"
        raise UserError(f"unknown command {name!r}{hint}")
    return command(name).main(rest)


def cli(*first: str) -> None:
    """Runs the program with its arguments, behind those that are given here."""
    program.run(lambda argv: main([*first, *argv]))
