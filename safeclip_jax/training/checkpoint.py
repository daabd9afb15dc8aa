"""Checkpoints of a run: the train state and where in the plan it stands."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from safeclip_jax.checkpoints import checksums, on_disk
from safeclip_jax.distributed import sharding
from safeclip_jax.errors import UserError, failed, first_line
from safeclip_jax.training.state import TrainState

SCHEMA = 2  # of what a checkpoint holds; later ones are refused
_FIELDS = [field.name for field in fields(TrainState) if field.name != "kept"]
_LOST_HOST = jax.errors.JaxRuntimeError  # what a collective raises; no fault of disk or file
_PRINT = partial(print, flush=True)


@dataclass(frozen=True)
class Position:
    """The next thing to do.

    Attributes:
      epoch, stage, step: from 0; the step counts within its stage.
      total_steps: steps so far, all stages together.
      seconds: spent so far, by activity.
      pools: digest of the pools in use; empty before the first.
      rollbacks: how often the run went back to a checkpoint because of non-finite steps.
      schema: see `SCHEMA`.
    """

    epoch: int = 0
    stage: int = 0
    step: int = 0
    total_steps: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    pools: str = ""
    rollbacks: int = 0
    schema: int = SCHEMA

    @property
    def begins_epoch(self) -> bool:
        return self.stage == 0 and self.step == 0


class Checkpoints:
    """Saves and restores a run; writing goes on while training does.

    A checkpoint appears whole or not at all, and its files' checksums before it does, in
    `checksums/STEP.sha256`. One that is damaged is set aside, in `damaged/`, and the one before
    it is used.

    Args:
      folder: of the run; checkpoints are in `checkpoints/`, which is made if it is not there.
      keep: newest checkpoints to keep.
      keep_every: also keep those at the end of every so many epochs; 0 for none.
      say: prints a line; the first host's is called.
    """

    def __init__(
        self,
        folder: Path,
        keep: int,
        keep_every: int = 0,
        say: Callable[[str], None] = _PRINT,
    ):
        self._run, self._folder = folder, folder / "checkpoints"
        self._keep, self._keep_every = keep, keep_every
        self._say = say if jax.process_index() == 0 else lambda line: None
        self._writing = 0  # step of the checkpoint that is being written
        if jax.process_index() == 0:
            self._tidy()
        sharding.from_lead(0)  # the others go on once that is done
        options = ocp.CheckpointManagerOptions(
            enable_async_checkpointing=True,
            async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
        )
        self._manager = ocp.CheckpointManager(self._folder.absolute(), options=options)

    def save(self, state: TrainState, position: Position) -> None:
        """Starts writing; returns once the state is copied.

        Raises:
          UserError: if this or the one before cannot be written.
        """
        if position.total_steps in self._manager.all_steps():
            return
        try:
            self._manager.wait_until_finished()
            self._prune()
            self._writing = position.total_steps
            self._manager.save(
                position.total_steps,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    position=ocp.args.JsonSave(asdict(position)),
                ),
            )
        except _LOST_HOST:
            raise
        except Exception as error:
            raise self._not_written(error) from None

    def restore(
        self, like: TrainState, accept: Callable[[TrainState], bool] | None = None
    ) -> tuple[TrainState, Position] | None:
        """Returns the newest checkpoint, laid out as `like` is, or None if there is none.

        Args:
          like: a state of the same shapes.
          accept: a checkpoint of which it is false is deleted, and the one before it is used;
            None for all.

        Raises:
          UserError: if there are some and none can be read.
        """
        problems = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                state, position = self._read(step, like)
            except (UserError, _LOST_HOST):
                raise
            except Exception as error:
                problems.append(f"{step}: {first_line(error)}")
                self._say(f"checkpoint {step} cannot be read ({first_line(error)}): set aside")
                self._remove(step, set_aside=True)
                continue
            if accept is None or accept(state):
                return state, position
            self._remove(step, set_aside=False)
        if problems:
            raise UserError(
                f"no checkpoint of {self._run} can be used ({'; '.join(problems)}): start anew in "
                "another folder"
            )
        return None

    def close(self) -> None:
        """Waits until all is written.

        Raises:
          UserError: if it cannot be written.
        """
        try:
            self._manager.wait_until_finished()
            self._prune()
        except _LOST_HOST:
            raise
        except Exception as error:
            raise self._not_written(error) from None
        finally:
            self._manager.close()

    def _read(self, step: int, like: TrainState) -> tuple[TrainState, Position]:
        schema = on_disk.position(self._folder, step).get("schema", SCHEMA)
        if schema > SCHEMA:
            raise UserError(
                f"checkpoint {step} of {self._run} has schema {schema}, and this version of "
                f"safeclip_jax reads {SCHEMA}: go on with the version that wrote it"
            )
        shapes: Any = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        strict = not self._lacks_places(step, like)
        if schema < 2:
            shapes = self._before_kept(step, shapes)
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(shapes, strict=strict),
                position=ocp.args.JsonRestore(),
            ),
        )
        position = Position(**restored.position | {"schema": SCHEMA})
        if schema < 2:
            arrays = restored.state
            kept = {name: arrays[name] for name in like.kept}
            fields = {name: arrays[name] for name in _FIELDS}
            return TrainState(**fields, kept=kept), position
        return restored.state, position

    def _before_kept(self, step: int, shapes: TrainState) -> dict[str, Any]:
        """The state as checkpoints of schema 1 have it, with both banks beside the other fields."""
        path = self._folder / str(step) / "state"
        stored = ocp.PyTreeCheckpointHandler().metadata(path.absolute()).tree
        banks = {
            name: shapes.kept.get(name) or jax.tree.map(_shape, stored[name])
            for name in ("image_bank", "text_bank")
        }
        return {name: getattr(shapes, name) for name in _FIELDS} | banks

    def _lacks_places(self, step: int, like: TrainState) -> bool:
        """Whether a checkpoint remembers a score of each pair and has no further places for any."""
        if like.remembered is None:
            return False
        path = self._folder / str(step) / "state"
        stored = ocp.PyTreeCheckpointHandler().metadata(path.absolute()).tree["remembered"]
        return stored.shape != like.remembered.shape

    def _tidy(self) -> None:
        """Removes what a kill left half done, and sets damaged checkpoints aside."""
        for pattern in (f"{on_disk.DOOMED}*", "*.orbax-checkpoint-tmp*"):
            for path in self._folder.glob(pattern):
                shutil.rmtree(path)
        for path in (self._run / "checksums").glob("*.sha256"):
            if not (self._folder / path.stem).exists():
                path.unlink()
        for step in sorted(on_disk.steps(self._folder)):
            reason = on_disk.damage(self._run, step)
            if reason:
                self._say(f"checkpoint {step} is damaged ({reason}): set aside in damaged/")
                on_disk.set_aside(self._run, step)

    def _remove(self, step: int, set_aside: bool) -> None:
        if jax.process_index() == 0:
            if set_aside:
                on_disk.set_aside(self._run, step)
            else:
                on_disk.delete(self._run, step)
        sharding.from_lead(0)
        self._manager.reload()

    def _seal(self) -> None:
        """Notes the checksums of a checkpoint that is all written but not yet in its place."""
        if jax.process_index() == 0:
            step = str(self._writing)
            name = f"{self._folder.name}/{step}"
            (written,) = (p for p in self._folder.iterdir() if p.name.split(".")[0] == step)
            checksums.write(written, name, on_disk.checksum_list(self._run, self._writing))

    def _prune(self) -> None:
        """Deletes all but the newest checkpoints and those that are kept for good."""
        if jax.process_index() != 0:
            return
        for step in sorted(on_disk.steps(self._folder))[: -self._keep or None]:
            if not self._is_kept_for_good(step):
                on_disk.delete(self._run, step)

    def _is_kept_for_good(self, step: int) -> bool:
        if not self._keep_every:
            return False
        where = on_disk.position(self._folder, step)
        at_end = where.get("stage") == 0 and where.get("step") == 0
        return at_end and where.get("epoch", 0) % self._keep_every == 0

    def _not_written(self, error: Exception) -> Exception:
        what = f"checkpoint cannot be written to {self._folder}"
        then = "once it can, the same command goes on from the last whole one"
        return failed(what, _cause(error), then)


def _shape(stored: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(stored.shape, stored.dtype)


def _cause(error: BaseException) -> BaseException:
    """The innermost reason."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
