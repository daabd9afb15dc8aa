"""The config of a run, as its folder keeps it."""

from __future__ import annotations

import json
from pathlib import Path

from ml_collections import ConfigDict

from safeclip_jax.errors import UserError, first_line

# Keys of later versions, with what runs before them did.
_SINCE = {
    "attack": {"captions": "data", "surrogate": "", "victims": "", "copies": 1},
    "data": {"leave_out": ""},
    "evaluate": {"tasks": ("zero_shot", "attack"), "learn": "", "also": ()},
}


def read(folder: Path) -> ConfigDict | None:
    """Reads a run's config; None where there is none, or it is another program's.

    Raises:
      UserError: if it cannot be read.
    """
    path = folder / "config.json"
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
        if not _SINCE.keys() <= content.keys():
            return None
        return ConfigDict(content | {part: keys | content[part] for part, keys in _SINCE.items()})
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is no config that can be read: {first_line(error)}") from None
