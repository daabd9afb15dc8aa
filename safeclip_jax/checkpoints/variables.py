"""The model's arrays of a run, without the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from safeclip_jax.checkpoints import on_disk
from safeclip_jax.errors import UserError, first_line


def read_variables(folder: Path) -> Any:
    """The model's arrays of a run's newest checkpoint, all its collections, on the host.

    It may have been written on any number of devices. A damaged one is passed over.

    Raises:
      UserError: if there is no checkpoint that can be read.
    """
    steps = sorted(on_disk.steps(folder / "checkpoints"), reverse=True)
    if not steps:
        raise UserError(f"{folder} holds no checkpoint of a run")
    problems = []
    for step in steps:
        reason = on_disk.damage(folder, step)
        if not reason:
            try:
                return _read_variables(folder / "checkpoints" / str(step) / "state")
            except Exception as error:
                reason = first_line(error)
        problems.append(f"{step}: {reason}")
    raise UserError(f"no checkpoint of {folder} can be read ({'; '.join(problems)})")


def _read_variables(path: Path) -> Any:
    handler = ocp.PyTreeCheckpointHandler()
    with ocp.Checkpointer(handler) as reader:
        tree = handler.metadata(path.absolute()).tree
        wanted = {name: tree[name] for name in ("params", "batch_stats") if tree[name]}
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
        arguments = ocp.args.PyTreeRestore(wanted, as_numpy, partial_restore=True)
        found = reader.restore(path.absolute(), arguments)
    return {**found["params"], **found.get("batch_stats", {})}
