"""What a `tokenizer.json` may hold, which anybody may have written.

The library that reads them ends the process where memory is lacking, and takes whatever ids there
are. So a file is looked at before it is given to the library: one of CLIP's kind needs little.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safeclip_jax.system import json_text

_MAX_FILE = 2**26  # bytes; CLIP's has 2 MB
_MAX_TOKEN = 1000  # characters of an added one
_MAX_ADDED = 10_000
_MAX_PARTS = 32  # of normalizer and pre-tokenizer
_PARTS = frozenset(
    (
        *("Sequence", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "StripAccents"),
        *("Replace", "ByteLevel", "Split", "Whitespace", "WhitespaceSplit", "BertNormalizer"),
    )
)


def read(path: Path) -> str:
    """The text of a tokenizer file, without what would be done to the ids it gives.

    Raises:
      OSError, ValueError: if it cannot be read, or holds what no tokenizer of CLIP's kind needs.
    """
    if path.stat().st_size > _MAX_FILE:
        raise ValueError(f"it has more than {_MAX_FILE // 2**20} MiB")
    content = json_text.read(path.read_text("utf-8"))
    try:
        _check_ids(content["model"], content.get("added_tokens", []))
        _check_parts([content.get("normalizer"), content.get("pre_tokenizer")])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is of no form that is known ({error!r})") from None
    return json.dumps(content | {"post_processor": None})


def _check_ids(model: dict, added: list[dict]) -> None:
    if model["type"] != "BPE":
        raise ValueError(f"its model is of type {model['type']!r}, and CLIP's is BPE")
    if len(added) > _MAX_ADDED or any(len(token["content"]) > _MAX_TOKEN for token in added):
        raise ValueError("an added token is too long, or there are too many")
    ids = dict(model["vocab"]) | {token["content"]: token["id"] for token in added}
    if sorted(ids.values()) != list(range(len(ids))):
        raise ValueError(f"the ids of its {len(ids)} tokens are not 0 to {len(ids) - 1}")


def _check_parts(roots: list[Any]) -> None:
    parts = [part for root in roots for part in _typed(root)]
    unknown = [part["type"] for part in parts if part["type"] not in _PARTS]
    if unknown or len(parts) > _MAX_PARTS:
        raise ValueError(f"it changes texts by {unknown[:1] or len(parts)}, which CLIP's does not")
    replaced = [part for part in parts if part["type"] == "Replace"]
    if len(replaced) > 1 or any(len(part["content"]) > 4 for part in replaced):
        raise ValueError("it replaces texts by longer ones")


def _typed(value: Any) -> Iterator[dict]:
    """All objects with a type in a value, itself among them."""
    if isinstance(value, dict):
        if "type" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _typed(inner)
