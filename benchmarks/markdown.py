"""Rows of figures as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence


def table(rows: Sequence[dict]) -> str:
    """A table whose columns are the keys of the first row; floats as they are."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines += ["| " + " | ".join(map(str, row.values())) + " |" for row in rows]
    return "\n".join(lines)
