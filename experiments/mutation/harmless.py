"""Changes that leave a module as good as it was, with the reason; no test can tell them."""

from __future__ import annotations

import re

# Module, an expression that the change matches, and why nothing that is promised differs.
HARMLESS: tuple[tuple[str, str, str], ...] = ()


def reason(module: str, change: str) -> str | None:
    """Why a change is harmless; None if it is not known to be."""
    for of, pattern, why in HARMLESS:
        if of == module and re.search(pattern, change):
            return why
    return None
