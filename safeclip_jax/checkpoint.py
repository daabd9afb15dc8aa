"""Checkpoints of a run: the train state and where in the plan it stands."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from safeclip_jax.embed import Variables
from safeclip_jax.errors import UserError, first_line
from safeclip_jax.steps import TrainState


@dataclass(frozen=True)
class Position:
    """The next thing to do.

    Attributes:
      epoch, stage, step: from 0; the step counts within its stage.
      total_steps: steps so far, all stages together.
      seconds: spent so far, by activity.
    """

    epoch: int = 0
    stage: int = 0
    step: int = 0
    total_steps: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


def read_variables(folder: Path) -> Variables:
    """The model's arrays of a run's newest checkpoint, all its collections, on the host.

    It may have been written on any number of devices.

    Raises:
      UserError: if there is no checkpoint or it cannot be read.
    """
    steps = [int(p.name) for p in (folder / "checkpoints").glob("*") if p.name.isdigit()]
    if not steps:
        raise UserError(f"{folder} holds no checkpoint of a run")
    path = folder / "checkpoints" / str(max(steps)) / "state"
    try:
        handler = ocp.PyTreeCheckpointHandler()
        with ocp.Checkpointer(handler) as reader:
            tree = handler.metadata(path.absolute()).tree
            wanted = {name: tree[name] for name in ("params", "batch_stats") if tree[name]}
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
            arguments = ocp.args.PyTreeRestore(wanted, as_numpy, partial_restore=True)
            found = reader.restore(path.absolute(), arguments)
    except Exception as error:
        raise UserError(f"{path} cannot be read ({first_line(error)})") from None
    return {**found["params"], **found.get("batch_stats", {})}


class Checkpoints:
    """Saves and restores a run; writing goes on while training does.

    Args:
      folder: made if it is not there.
      keep: newest checkpoints to keep.
    """

    def __init__(self, folder: Path, keep: int):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)
        self._folder = folder
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def save(self, state: TrainState, position: Position) -> None:
        """Starts writing; returns once the state is copied."""
        if position.total_steps in self._manager.all_steps():
            return
        self._manager.save(
            position.total_steps,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), position=ocp.args.JsonSave(asdict(position))
            ),
        )

    def restore(self, like: TrainState) -> tuple[TrainState, Position] | None:
        """Returns the newest checkpoint, laid out as `like` is, or None if there is none.

        Raises:
          UserError: if it cannot be read.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        shapes = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(shapes), position=ocp.args.JsonRestore()
                ),
            )
        except Exception as error:
            raise UserError(
                f"checkpoint {self._folder / str(step)} cannot be read ({first_line(error)}): "
                "delete it to go on from the one before"
            ) from None
        return restored.state, Position(**restored.position)

    def close(self) -> None:
        """Waits until all is written."""
        self._manager.wait_until_finished()
        self._manager.close()
