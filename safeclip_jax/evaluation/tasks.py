"""The evaluations by name."""

from __future__ import annotations

from collections.abc import Sequence

from safeclip_jax.errors import unknown
from safeclip_jax.evaluation import knn, linear_probe, published_probe, retrieval, zero_shot
from safeclip_jax.evaluation.attack import AttackTask
from safeclip_jax.evaluation.task import Task

TASKS: dict[str, Task] = {
    "zero_shot": zero_shot.evaluate,
    "retrieval": retrieval.evaluate,
    "linear_probe": linear_probe.evaluate,
    "published_probe": published_probe.evaluate,
    "knn": knn.evaluate,
}
NO_ATTACK = AttackTask()


def create(names: Sequence[str], attack: AttackTask) -> dict[str, Task]:
    """The tasks of these names; `attack` is the one of that name.

    Raises:
      UserError: if a name is not known.
    """
    known = {**TASKS, "attack": attack}
    for name in names:
        if name not in known:
            raise unknown("evaluate.tasks", name, known)
    return {name: known[name] for name in names}
