"""Rows of a grid's config: its attacks and its defences, as changes of a run."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict


def attack(seeds: int, **changes: Any) -> ConfigDict:
    """An attack and the number of its seeds.

    Args:
      seeds: runs of each defence under it.
      **changes: keys of the section `attack`.
    """
    return ConfigDict({"seeds": seeds, "changes": {"attack": changes}})


def defense(defense: str, after: str = "", **changes: Any) -> ConfigDict:
    """A defence.

    Args:
      defense: its name.
      after: the row whose run it starts from, or ATTACK/ROW for one of another attack.
      **changes: keys of the run.
    """
    return ConfigDict({"after": after, "changes": {"defense": defense, **changes}})


def audited(first: str) -> ConfigDict:
    """Plain CLIP on the pairs that an audit of the runs of the row `first` keeps."""
    return ConfigDict({"after": first, "audit": True, "changes": {"defense": "none"}})
