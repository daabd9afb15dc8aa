"""Configuration files, where a command does not take single keys of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ml_collections import ConfigDict

from safeclip_jax.errors import UserError


def read(path: str, example: str) -> ConfigDict:
    """Runs a file's `get_config`.

    Args:
      path: of the file.
      example: one to try instead.

    Raises:
      UserError: if it is no such file.
    """
    file = Path(path)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if not file.exists() or spec is None or spec.loader is None:
        raise UserError(f"--config={path} is no file.py: try {example}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(f"--config={path} has no get_config(): try {example}")
    return module.get_config()
