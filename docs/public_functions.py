"""For the Python page: functions of the package whose names are modules, too.

`python -m safeclip_jax.audit` runs a module, `safeclip_jax.audit(…)` calls a function.
"""

from __future__ import annotations

from typing import Any

import griffe


class PublicFunctions(griffe.Extension):
    """Lets the functions of `safeclip_jax` be found by their names."""

    def __init__(self) -> None:
        self._functions: dict[str, griffe.Function] = {}

    def on_function_instance(self, *, func: griffe.Function, **_: Any) -> None:
        if func.parent is not None and func.parent.path == "safeclip_jax":
            self._functions[func.name] = func

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        if pkg.path == "safeclip_jax":
            pkg.members.update(self._functions)
