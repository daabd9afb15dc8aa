"""The figures of a run: zero-shot accuracy, attack success and the quality of the pools."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from safeclip_jax import sharding
from safeclip_jax.data.pipeline import ImageReader, pad_to_multiple
from safeclip_jax.errors import UserError
from safeclip_jax.evaluate import attack, zero_shot
from safeclip_jax.experiment import Experiment
from safeclip_jax.pools import Pools


@dataclass(frozen=True)
class Figures:
    """What one evaluation found; shares are in [0, 1], None where there is nothing labelled.

    Attributes:
      zero_shot_accuracy: of the untriggered images.
      attack_success_rate: see `attack.target_rate`; on the triggered images.
      target_base_rate: the same on the untriggered ones.
      confusion: counts [C, C] of the untriggered images.
    """

    zero_shot_accuracy: float | None = None
    attack_success_rate: float | None = None
    target_base_rate: float | None = None
    confusion: np.ndarray | None = None

    def summary(self) -> dict[str, float | None]:
        names = ("zero_shot_accuracy", "attack_success_rate", "target_base_rate")
        return {name: getattr(self, name) for name in names}

    def line(self) -> str:
        if self.zero_shot_accuracy is None:
            return "nothing to evaluate on"
        return (
            f"zero-shot accuracy {self.zero_shot_accuracy:.1%}, attack success "
            f"{self.attack_success_rate:.1%} (base rate {self.target_base_rate:.1%})"
        )


class Evaluator:
    """Evaluates parameters on the experiment's held-out images."""

    def __init__(self, experiment: Experiment):
        self._x = experiment
        self._batch = experiment.config.score.batch_size
        self._read: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def __call__(self, params) -> Figures:
        x = self._x
        if x.held_out is None:
            return Figures()
        classes = zero_shot.class_vectors(
            lambda texts: self._embed(x.steps.embed_texts, params, x.tokenizer.encode(texts)),
            x.held_out.prompts,
        )
        *images, labels = self._held_out_images()
        clean, triggered = (
            zero_shot.predict(self._embed(x.steps.embed_images, params, i), classes) for i in images
        )
        target = x.held_out.class_names.index(x.config.attack.target)
        return Figures(
            zero_shot.accuracy(labels, clean),
            attack.target_rate(labels, triggered, target),
            attack.target_rate(labels, clean, target),
            zero_shot.confusion(labels, clean, len(classes)),
        )

    def _embed(self, embed, params, inputs: np.ndarray) -> np.ndarray:
        """Embeds [n, …] to [n, D] in equal batches, so that one compiled function serves."""
        index = pad_to_multiple(np.arange(len(inputs)), self._batch)
        share = self._batch // jax.process_count()
        first = share * jax.process_index()
        parts = []
        for start in range(0, len(index), self._batch):
            mine = inputs[index[start + first : start + first + share]]
            batch = sharding.to_devices({"inputs": mine}, self._x.mesh)["inputs"]
            parts.append(embed(params, batch))
        return np.concatenate([sharding.to_host(part) for part in parts])[: len(inputs)]

    def _held_out_images(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Held-out images without and with the trigger, uint8, and their labels, read once.

        Pictures that cannot be read are left out.
        """
        if self._read is None:
            assert self._x.held_out is not None
            clean = self._x.held_out.images
            assert clean.labels is not None
            every = np.arange(len(clean))
            images, bad = ImageReader(clean, self._x.config.model.image_size, 0)(every)
            usable = np.array([i for i in range(len(clean)) if i not in bad], int)
            if not len(usable):
                raise UserError(f"evaluate.source: no image can be read ({bad[0]})")
            trigger = self._x.trigger
            triggered = np.stack([trigger(images[i], int(i)) for i in usable])
            self._read = images[usable], triggered, clean.labels[usable]
        return self._read


def pool_quality(pools: Pools, poisons: np.ndarray) -> dict[str, float | int | None]:
    """Sizes of the pools and, where poisons are known, how well they are told apart."""
    return {
        "safe_pool_size": len(pools.safe),
        "risky_pool_size": len(pools.risky),
        "poisons_in_safe_pool": int(np.isin(poisons, pools.safe).sum()),
        "score_auroc": attack.score_auroc(pools.scores, poisons),
    }


NO_POOLS: dict[str, float | int | None] = {
    "safe_pool_size": None,
    "risky_pool_size": None,
    "poisons_in_safe_pool": None,
    "score_auroc": None,
}
