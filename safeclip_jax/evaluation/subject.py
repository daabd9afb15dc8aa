"""A trained model under evaluation, whoever trained it, with what its run was attacked by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safeclip_jax
from safeclip_jax.attacks import manifest as manifests
from safeclip_jax.attacks import optimized_patch, triggers
from safeclip_jax.attacks.manifest import Manifest
from safeclip_jax.attacks.multi_target import targets_of
from safeclip_jax.attacks.triggers import Trigger
from safeclip_jax.data.held_out import HeldOut
from safeclip_jax.data.prompts import readable
from safeclip_jax.errors import UserError
from safeclip_jax.evaluation.attack import AttackTask
from safeclip_jax.inference.model import Model
from safeclip_jax.runs import run_data, run_folder, settings
from safeclip_jax.runs.settings import RunSettings


@dataclass(frozen=True)
class Subject:
    """A model to evaluate.

    Attributes:
      name: for tables.
      path: where it was read.
      model: with its weights.
      run: the settings of its run, or those to test it with; None if it is no run of ours.
      manifest: of its run's attack, or None.
    """

    name: str
    path: Path
    model: Model
    run: RunSettings | None
    manifest: Manifest | None

    def own_held_out(self) -> HeldOut:
        """What its run held out.

        Raises:
          UserError: if it is no run, or it held nothing out.
        """
        if self.run is None:
            raise UserError(f"{self.path} is no run of ours: name what to evaluate on with --data")
        cache = run_folder.indices(self.path)
        pairs = run_data.training_pairs(self.run, cache)
        found = run_data.held_out(self.run, pairs, cache)
        if found is None:
            raise UserError(f"the run {self.path} held nothing out: use --data")
        return found

    def attack(self, names: Sequence[str], target: str, own: bool) -> AttackTask:
        """The attack to test it with.

        Args:
          names: of triggers, `all` for every one; empty for those of its run.
          target: class to be taken for; empty for that of its run.
          own: whether the images are those that its run held out, among which targeted
            poisoning chose.

        Raises:
          UserError: if there is no target, or a trigger is not known.
        """
        given = readable(target)
        target = given or (self.manifest.target if self.manifest else "")
        chosen = self.manifest.chosen if self.manifest and own else ()
        own_triggers = self.run is None or self.run.attack.has_triggers
        made = self._triggers(names) if names or own_triggers else {}
        others = {} if made or self.run is None else self.run.attack.without_triggers
        if (made or any(others.values())) and not target:
            raise UserError("attack: which class should triggers be taken for? Give --target")
        planned = self.manifest.targets if self.manifest and not given else {}
        targets = planned or targets_of(list(made), target)
        unknown = [name for name in made if targets and name not in targets]
        if unknown:
            raise UserError(f"attack: no class belongs to {unknown[0]!r} in the run: give --target")
        victims = self.run.attack.victims if self.run else ""
        return AttackTask(target, made, chosen, victims, targets, **others)

    def _triggers(self, names: Sequence[str]) -> dict[str, Trigger]:
        usable = optimized_patch.usable(self.path)
        if names == ["all"]:
            names = usable
        run = self.run or settings.read({})
        otherwise = run.attack.trigger if self.run else "+".join(usable)
        parameters = run.attack.parameters()
        made = triggers.named("+".join(names) or otherwise, parameters, run.attack_seed)
        return optimized_patch.stored(made, self.path)


def by_name(paths: Sequence[Path]) -> dict[str, Path]:
    """The different paths, each by as much of its end as tells it from the others."""
    places = {path.resolve(): path for path in paths}
    for parts in range(1, 1 + max(len(place.parts) for place in places)):
        named = {"/".join(place.parts[-parts:]): path for place, path in places.items()}
        if len(named) == len(places):
            break
    return named


def open_subject(name: str, path: Path, preset: str = "", activation: str = "") -> Subject:
    """Reads a run's folder or a model, see `safeclip_jax.load`.

    Args:
      name: for tables.
      path, preset, activation: as there.

    Raises:
      UserError: if it cannot be read.
    """
    model = safeclip_jax.load(path, preset, activation)
    manifest = path / "poison_manifest.json"
    planned = manifests.load(manifest) if manifest.exists() else None
    return Subject(name, path, model, run_folder.read(path), planned)
