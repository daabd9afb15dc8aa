"""All settings of a run. Their defaults stand here, and where a section is defined."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ml_collections import ConfigDict

from safeclip_jax.attacks.captions import CAPTIONS
from safeclip_jax.attacks.manifest import KINDS
from safeclip_jax.attacks.multi_target import targets_of
from safeclip_jax.attacks.triggers import TRIGGERS, Trigger
from safeclip_jax.data.augment_image import ImageAugmentation
from safeclip_jax.data.prompts import readable
from safeclip_jax.defenses import DEFENSES, Defense
from safeclip_jax.defenses.scores import SCORES, Score
from safeclip_jax.errors import UserError, nearest
from safeclip_jax.runs import old_settings
from safeclip_jax.settings import schema, sections
from safeclip_jax.settings.fields import SHARE, at_least, one_of, section, setting
from safeclip_jax.settings.schema import Key


@dataclass(frozen=True)
class Attack:
    """What poisons the training pairs, and what tests the model."""

    kind: str = setting("backdoor", "of poisoning", one_of(KINDS))
    trigger: str = setting("badnets", f"one or several with +: {' '.join(TRIGGERS)}")
    rate: float = setting(0.0, "share of the pairs that are poisoned; 0: a clean run", SHARE)
    count: int = setting(0, "so many poisoned pairs instead of a share", at_least(0))
    target: str = setting(
        "heart", "class to be taken for; one a trigger with +; empty in targeted: drawn"
    )
    images: int = setting(24, "targeted: held-out images to be taken for others", at_least(1))
    seed: int | None = setting(None, "of the attack's draws; None: the run's seed")
    captions: str = setting("data", "of poisoned pairs, see docs/attacks", one_of(CAPTIONS))
    surrogate: str = setting(
        "", "a trained model that chooses poisons, or badclip's patch: as init_from"
    )
    victims: str = setting("", "only images of the class that their caption names; empty: any")
    copies: int = setting(1, "poisoned pairs that show the same image", at_least(1))
    phrase: str = setting("zx", "text_backdoor: what is appended to captions")
    attribute: str = setting("", "semantic: what captions of poisoned pairs mention, as red")

    def __post_init__(self) -> None:
        for name in ("target", "victims"):  # as sources name their classes
            object.__setattr__(self, name, readable(getattr(self, name)))

    def parameters(self) -> dict[str, Trigger]:
        """A trigger of each name, with the parameters of its section."""
        return {name: getattr(self, name) for name in TRIGGERS}

    @property
    def has_triggers(self) -> bool:
        """Whether images are changed by triggers."""
        return self.kind in ("backdoor", "label_consistent")

    @property
    def without_triggers(self) -> dict[str, Any]:
        """What tests a model where no trigger is on images, see `evaluation.attack.AttackTask`."""
        return {
            "phrase": self.phrase if self.kind == "text_backdoor" else "",
            "attribute": self.attribute if self.kind == "semantic" else "",
            "repeated": self.kind == "natural",
        }

    @property
    def targets(self) -> dict[str, str]:
        """The class of each trigger; empty where all have the same, see `multi_target`."""
        return targets_of(self.trigger.split("+"), self.target) if self.has_triggers else {}


def _with_sections(kind: type, name: str, parts: Mapping[str, type]) -> Any:
    """The section with further ones in it, by name; those without settings are left out.

    `name` is that of the variable that holds it, by which other processes find it.
    """
    fields = [(part, own, section(own)) for part, own in parts.items() if any(schema.keys(own))]
    made = dataclasses.make_dataclass(name, fields, bases=(kind,), frozen=True)
    made.__module__ = __name__
    return made


_Attack = _with_sections(Attack, "_Attack", TRIGGERS)


@dataclass(frozen=True)
class Scoring:
    """How pairs are scored."""

    kind: str = setting("cosine", "what of a pair's embeddings, see docs/method", one_of(SCORES))
    batch_size: int = setting(1024, "pairs that are scored together, all devices", at_least(1))
    reuse: bool = setting(False, "whether pairs keep the score they had as they trained")


@dataclass(frozen=True)
class RunSettings:
    """What decides a run, beside its folder."""

    seed: int = setting(0, "every random draw of the run derives from it", at_least(0))
    defense: str = setting("safeclip", "plan of training", one_of(DEFENSES))
    init_from: str = setting("", "a run or a model (Hugging Face's, open_clip's) to start from")
    epochs: int = setting(32, "passes over the data, warm-up included", at_least(0))
    batch_size: int = setting(512, "pairs in a global batch, all devices together", at_least(1))
    micro_batches: int = setting(
        1, "parts of a batch that pass through the model in turn; one global loss", at_least(1)
    )
    loss_chunk: int = setting(
        0, "columns of the batch's similarities to hold at a time; 0: all", at_least(0)
    )
    max_steps: int = setting(
        0, "stop each stage after so many steps, to try things out; 0: no limit", at_least(0)
    )
    mesh: sections.Mesh = section(sections.Mesh)
    data: sections.Data = section(sections.Data)
    model: sections.Model = section(sections.Model)
    optimizer: sections.Optimizer = section(sections.Optimizer)
    augment: ImageAugmentation = section(ImageAugmentation)
    unimodal: sections.Unimodal = section(sections.Unimodal)
    score: Scoring = section(Scoring)
    attack: Attack = section(_Attack)
    evaluate: sections.Evaluate = section(sections.Evaluate)
    profile_at: int = setting(
        0, "trace five steps from this one on, into profile/; 0: none", at_least(0)
    )
    log_every: int = setting(20, "steps between lines of metrics", at_least(1))
    checkpoint_minutes: float = setting(
        30.0, "between checkpoints inside an epoch; every epoch ends with one", at_least(0)
    )
    keep_checkpoints: int = setting(2, "newest ones", at_least(1))
    keep_every_epochs: int = setting(
        0, "also, for good, that at the end of every so many epochs; 0: none", at_least(0)
    )

    @property
    def plan(self) -> Defense:
        """The defence with its settings."""
        return replace(getattr(self, self.defense, DEFENSES[self.defense]), seed=self.seed)

    @property
    def pair_score(self) -> Score:
        """The defence's own score, or that of the run."""
        return SCORES[self.plan.score or self.score.kind]

    @property
    def score_batch(self) -> int:
        """Pairs that are scored together: as the defence's own score wants it, or as the run."""
        return self.pair_score.batch if self.plan.score else self.score.batch_size

    @property
    def data_seed(self) -> int:
        """Of scenes, parts and choices."""
        return self.seed if self.data.seed is None else self.data.seed

    @property
    def attack_seed(self) -> int:
        """Of the attack's draws."""
        return self.seed if self.attack.seed is None else self.attack.seed


_Run = _with_sections(
    RunSettings,
    "_Run",
    {name: type(defense) for name, defense in DEFENSES.items()},
)


# All settings by their full names.
KEYS: dict[str, Key] = {key.name: key for key in schema.keys(_Run)}


def read(values: Mapping[str, Any]) -> RunSettings:
    """Settings from values by name; what is missing has its default.

    Raises:
      UserError: if a key is not known, or a value not allowed.
    """
    found: RunSettings = schema.read(_Run, old_settings.renewed(values))
    if not found.epochs and not found.init_from:
        raise UserError("epochs=0: at least 1 is needed, or 0 with init_from")
    if found.pair_score.compares and found.score_batch < 2:
        raise UserError("score.batch_size=1: this score needs other pairs beside a pair's own")
    return found


def of(config: RunSettings | ConfigDict) -> RunSettings:
    """The settings that a config holds."""
    return config if isinstance(config, RunSettings) else read(config.to_dict())


def defaults() -> ConfigDict:
    """All settings with their defaults, to be changed; other names are refused."""
    return schema.as_config(_Run)


def as_config(run: RunSettings) -> ConfigDict:
    """All values of a run, to be changed; other names are refused."""
    config = defaults()
    config.update(as_dict(run))
    return config


def as_dict(run: RunSettings) -> dict[str, Any]:
    """All values by name, as `config.json` has them."""
    return schema.as_dict(run)


def unknown_key(name: str) -> str:
    """What to say of a key that there is not: its new name, its section, or the nearest one."""
    names = list(KEYS)
    if name in old_settings.RENAMED:
        return f"config key {name!r} is {old_settings.RENAMED[name]!r} now"
    if name in old_settings.GONE:
        return f"config key {name!r} is gone: {old_settings.GONE[name][1]}"
    same = [full for full in names if full.endswith(f".{name}")]
    if same:
        return f"unknown config key {name!r}: did you mean {' or '.join(map(repr, same))}?"
    parts = [full for full in names if full.rpartition(".")[0] == name.rpartition(".")[0]]
    ends = {full.rpartition(".")[2]: full for full in parts}
    near = nearest(name.rpartition(".")[2], ends) or nearest(name, names)
    return f"unknown config key {name!r}{near}"
