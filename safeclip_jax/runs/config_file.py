"""Files of configurations: `FILE.py` or the name of a built-in one, and `:ARGUMENT`.

Such a file has a function `get_config`, which changes the defaults:

    import safeclip_jax

    def get_config():
        c = safeclip_jax.config("demo")
        c.defense = "none"
        return c
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import traceback
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from safeclip_jax.errors import UserError, first_line, nearest
from safeclip_jax.runs import settings

_PACKAGE = Path(__file__).parent.parent
# In the installed program, or beside it in a checkout.
_FOLDERS = _PACKAGE / "configs", _PACKAGE.parent / "configs"


def read(text: str) -> ConfigDict:
    """The config that a text names.

    Args:
      text: a path that ends in `.py`, or a built-in name, with `:ARGUMENT` where it takes one.

    Raises:
      UserError: if there is no such file, or it raises.
    """
    path, _, argument = text.partition(":")
    found = _run(_file(path), argument, text)
    if not isinstance(found, ConfigDict):
        raise UserError(f"--config={text}: get_config() returns no ConfigDict")
    return found


def name(text: str) -> str:
    """A config's short name: without folder and ending, and its argument behind a dash."""
    path, _, argument = text.partition(":")
    return "-".join([Path(path).stem, *([argument] if argument else [])])


def built_in() -> list[str]:
    """The names of the configs that come with the program."""
    folder = _built_in_folder()
    names = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.py"))
    return sorted(name.as_posix() for name in names if not name.name.startswith("_"))


def _built_in_folder() -> Path:
    return next(folder for folder in _FOLDERS if folder.is_dir())


def _file(path: str) -> Path:
    if path.endswith(".py"):
        if not Path(path).is_file():
            raise UserError(f"--config={path} does not exist: give a file, or one of {_some()}")
        return Path(path)
    known = built_in()
    if path not in known:
        hint = nearest(path, known) or f": {_some()}"
        raise UserError(f"--config={path} is no FILE.py and no built-in config{hint}")
    return _built_in_folder() / f"{path}.py"


def _some() -> str:
    return ", ".join(name for name in built_in() if "/" not in name)


def _run(file: Path, argument: str, text: str) -> Any:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        make = getattr(module, "get_config", None)
        if make is None:
            raise UserError(f"--config={text} has no get_config(): see configs/demo.py")
        wanted = len(inspect.signature(make).parameters)
        if argument and not wanted:
            raise UserError(f"--config={text}: this config takes no argument")
        return make(argument) if argument else make()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"--config={text}: {_place(file, error)}{reason(error)}") from error


def _place(file: Path, error: Exception) -> str:
    """The line of the file at which it fails."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f"{error.filename}, line {error.lineno}: "
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == file.absolute()]
    return f"{file}, line {lines[-1]}: " if lines else ""


def reason(error: Exception) -> str:
    """What is wrong, in a line; of a key that there is not, the nearest one."""
    unknown = re.match(r"['\"]?Key \"(\w+)\" does not exist", str(error))
    if unknown:
        return settings.unknown_key(unknown.group(1))
    return first_line(error)
