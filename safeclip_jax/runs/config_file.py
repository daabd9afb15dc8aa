"""Configuration files, where a command does not take single keys of them."""

from __future__ import annotations

import importlib.util
import traceback
from pathlib import Path

from ml_collections import ConfigDict

from safeclip_jax.errors import UserError, first_line


def read(path: str, example: str) -> ConfigDict:
    """Runs a file's `get_config`.

    Args:
      path: of the file.
      example: one to try instead.

    Raises:
      UserError: if it is no such file, or it raises.
    """
    file = Path(path)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if not file.exists() or spec is None or spec.loader is None:
        raise UserError(f"--config={path} is no file.py: try {example}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if hasattr(module, "get_config"):
            return module.get_config()
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise UserError(
            f"--config: {place.filename}, line {place.lineno}: {first_line(error)}"
        ) from error
    raise UserError(f"--config={path} has no get_config(): try {example}")
