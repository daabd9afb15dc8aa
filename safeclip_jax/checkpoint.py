"""Checkpoints of a run: the train state and where in the plan it stands."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from safeclip_jax.errors import UserError, first_line
from safeclip_jax.steps import Params, TrainState


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


def newest_state(folder: Path) -> Path:
    """Where the newest checkpoint of the run in `folder` has its state; `UserError` if nowhere."""
    steps = [int(p.name) for p in (folder / "checkpoints").glob("*") if p.name.isdigit()]
    if not steps:
        raise UserError(f"init_from={folder} holds no checkpoint of a run")
    return folder / "checkpoints" / str(max(steps)) / "state"


def initial_params(folder: Path, like: Params) -> Params:
    """The parameters of a run's newest checkpoint, laid out as `like` is.

    Args:
      folder: of the run.
      like: parameters of the same model.

    Raises:
      UserError: if there is no checkpoint, or it is of another model.
    """
    path = newest_state(folder)
    try:
        with ocp.StandardCheckpointer() as reader:
            found = reader.restore(path.absolute())["params"]
    except Exception as error:
        raise UserError(f"init_from: {path} cannot be read ({first_line(error)})") from None
    shapes = {jax.tree_util.keystr(p): x.shape for p, x in jax.tree.leaves_with_path(found)}
    for place, wanted in jax.tree.leaves_with_path(like):
        name = jax.tree_util.keystr(place)
        if shapes.pop(name, None) != wanted.shape:
            raise UserError(f"init_from={folder} is another model: {name} is not {wanted.shape}")
    if shapes:
        raise UserError(f"init_from={folder} is another model: it has {min(shapes)}")
    return jax.tree.map(lambda x, y: jax.device_put(x, y.sharding), found, like)


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
