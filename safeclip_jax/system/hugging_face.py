"""The transformers library, imported when it is needed and without its advice."""

from __future__ import annotations

import importlib
import os
from types import ModuleType


def transformers() -> ModuleType:
    """Imports it. It would tell the user that PyTorch is missing, which nothing here needs."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    return importlib.import_module("transformers")
