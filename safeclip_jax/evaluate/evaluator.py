"""The figures of a run: zero-shot accuracy, attack success and the quality of the pools."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from safeclip_jax.data.pipeline import ImageReader
from safeclip_jax.embed import Variables
from safeclip_jax.errors import UserError
from safeclip_jax.evaluate import attack, zero_shot
from safeclip_jax.evaluate.attack import Share
from safeclip_jax.experiment import Experiment
from safeclip_jax.pools import Pools


@dataclass(frozen=True)
class Figures:
    """What one evaluation found; None where there is nothing to measure it on.

    Attributes:
      zero_shot_accuracy: of the untriggered images.
      attack_success_rate: see `attack.target_rate`; of all triggers together.
      attack_success_by_trigger: of each.
      target_base_rate: the same on the untriggered images.
      poison_success_rate, poison_base_rate: of targeted poisoning, see `attack`.
      confusion: counts [C, C] of the untriggered images.
    """

    zero_shot_accuracy: Share | None = None
    attack_success_rate: Share | None = None
    attack_success_by_trigger: dict[str, float] = field(default_factory=dict)
    target_base_rate: Share | None = None
    poison_success_rate: Share | None = None
    poison_base_rate: float | None = None
    confusion: np.ndarray | None = None

    def summary(self) -> dict[str, Any]:
        """As plain JSON: shares as numbers in [0, 1], Wilson intervals beside them."""
        values: dict[str, Any] = {}
        for name in SHARES:
            found = getattr(self, name)
            values[name] = None if found is None else found.value
            values[f"{name}_interval"] = None if found is None else found.interval
        by_trigger = self.attack_success_by_trigger
        return {
            **values,
            "attack_success_by_trigger": by_trigger,
            "poison_base_rate": self.poison_base_rate,
        }

    def line(self) -> str:
        if self.zero_shot_accuracy is None:
            return "nothing to evaluate on"
        parts = [f"zero-shot accuracy {self.zero_shot_accuracy.value:.1%}"]
        if self.attack_success_rate is not None and self.target_base_rate is not None:
            success, base = self.attack_success_rate.value, self.target_base_rate.value
            parts.append(f"attack success {success:.1%} (base rate {base:.1%})")
        if self.poison_success_rate is not None:
            parts.append(f"poison success {self.poison_success_rate.value:.1%}")
        return ", ".join(parts)


SHARES = (
    "zero_shot_accuracy",
    "attack_success_rate",
    "target_base_rate",
    "poison_success_rate",
)


@dataclass(frozen=True)
class _HeldOutImages:
    """Usable held-out images, read once.

    Attributes:
      clean: uint8 [N, S, S, 3].
      triggered: the same with each trigger, by its name.
      labels: [N].
      chosen: places of targeted poisoning's images among them.
      targets: adversarial class of each.
    """

    clean: np.ndarray
    triggered: dict[str, np.ndarray]
    labels: np.ndarray
    chosen: np.ndarray
    targets: np.ndarray


class Evaluator:
    """Evaluates parameters on the experiment's held-out images."""

    def __init__(self, experiment: Experiment):
        self._x = experiment
        self._batch = experiment.config.score.batch_size
        self._read: _HeldOutImages | None = None

    def __call__(self, variables: Variables) -> Figures:
        x, embedder = self._x, self._x.steps.embedder
        if x.held_out is None:
            return Figures()
        classes = zero_shot.class_vectors(
            lambda texts: embedder.texts(variables, x.tokenizer.encode(texts), self._batch),
            x.held_out.prompts,
        )

        def predict(images: np.ndarray) -> np.ndarray:
            return zero_shot.predict(embedder.images(variables, images, self._batch), classes)

        images = self._held_out_images()
        labels, clean = images.labels, predict(images.clean)
        triggered = {name: predict(images.triggered[name]) for name in images.triggered}
        figures = Figures(
            zero_shot_accuracy=attack.share(labels == clean),
            confusion=zero_shot.confusion(labels, clean, len(classes)),
            poison_success_rate=attack.poison_success(clean[images.chosen], images.targets),
            poison_base_rate=attack.poison_base_rate(labels, clean, images.chosen, images.targets),
        )
        return self._with_triggers(figures, labels, clean, triggered)

    def _with_triggers(
        self,
        figures: Figures,
        labels: np.ndarray,
        clean: np.ndarray,
        triggered: dict[str, np.ndarray],
    ) -> Figures:
        assert self._x.held_out is not None
        if not triggered:
            return figures
        target = self._x.held_out.class_names.index(self._x.attack.manifest.target)
        rates = {n: attack.target_rate(labels, p, target) for n, p in triggered.items()}
        together = [rate for rate in rates.values() if rate is not None]
        if not together:
            return figures
        return replace(
            figures,
            attack_success_rate=Share(sum(r.count for r in together), sum(r.of for r in together)),
            attack_success_by_trigger={n: rate.value for n, rate in rates.items() if rate},
            target_base_rate=attack.target_rate(labels, clean, target),
        )

    def _held_out_images(self) -> _HeldOutImages:
        """Pictures that cannot be read are left out."""
        if self._read is None:
            assert self._x.held_out is not None
            clean = self._x.held_out.images
            assert clean.labels is not None
            every = np.arange(len(clean))
            images, bad = ImageReader(clean, self._x.config.model.image_size, 0)(every)
            usable = np.array([i for i in range(len(clean)) if i not in bad], int)
            if not len(usable):
                raise UserError(f"evaluate.source: no image can be read ({bad[0]})")
            names = self._x.held_out.class_names
            chosen = self._x.attack.manifest.chosen
            self._read = _HeldOutImages(
                images[usable],
                {
                    name: np.stack([trigger(images[i], int(i)) for i in usable])
                    for name, trigger in self._x.attack.triggers.items()
                },
                clean.labels[usable],
                np.searchsorted(usable, [image.index for image in chosen]),
                np.array([names.index(image.target) for image in chosen], int),
            )
        return self._read


def pool_quality(pools: Pools, poisons: np.ndarray) -> dict[str, float | int | None]:
    """Sizes of the pools and, where poisons are known, how well they are told apart."""
    return {
        "safe_pool_size": len(pools.safe),
        "risky_pool_size": len(pools.risky),
        "poisons_in_safe_pool": int(np.isin(poisons, pools.safe).sum()),
        **score_quality(pools.scores, poisons),
    }


def score_quality(scores: np.ndarray, poisons: np.ndarray) -> dict[str, float | int | None]:
    """How well low scores tell the poisons; None without poisons."""
    return {
        "score_auroc": attack.score_auroc(scores, poisons),
        "score_recall_at_1_percent": attack.score_recall(scores, poisons),
    }


NO_POOLS: dict[str, float | int | None] = {
    "safe_pool_size": None,
    "risky_pool_size": None,
    "poisons_in_safe_pool": None,
    "score_auroc": None,
    "score_recall_at_1_percent": None,
}
