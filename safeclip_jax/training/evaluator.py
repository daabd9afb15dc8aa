"""A run's evaluation: its tasks on its held-out images, and the quality of its pools."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from safeclip_jax.data import cores
from safeclip_jax.data.sources.base import Rejected
from safeclip_jax.defenses.pools import Pools
from safeclip_jax.distributed import sharding
from safeclip_jax.evaluation import detection, tasks
from safeclip_jax.evaluation.attack import AttackTask
from safeclip_jax.evaluation.embedding import Embedding, Reading
from safeclip_jax.evaluation.share import Share
from safeclip_jax.evaluation.task import Metrics, summary
from safeclip_jax.models.clip import Variables
from safeclip_jax.report import glossary
from safeclip_jax.system import json_text
from safeclip_jax.training.experiment import Experiment

Quality = dict[str, Any]
_FPR = "score_fpr_at_full_recall"


class Evaluator:
    """Evaluates parameters on what the experiment holds out."""

    def __init__(self, experiment: Experiment):
        self._x = x = experiment
        config = x.config
        manifest = x.attack.manifest
        attack = AttackTask(
            manifest.target,
            x.attack.triggers,
            manifest.chosen,
            config.attack.victims,
            manifest.targets,
            **config.attack.without_triggers,
        )
        self._tasks = tasks.create(config.evaluate.tasks, attack)
        self._elsewhere = tasks.create(config.evaluate.tasks, replace(attack, chosen=()))
        self._reading = Reading(
            config.score.batch_size,
            config.model.image_size,
            int(config.data.cache_gib * 2**30),
            cores.threads(config.data.threads),
            config.data.max_skipped_share,
        )

    def unusable(self) -> list[Rejected]:
        """Held-out images that could not be used so far, on any host; all hosts ask together."""
        sources = [self._x.held_out] if self._x.held_out else []
        images = [source.images for source in [*sources, *self._x.also_held_out]]
        found = dict(self._reading.skipped)
        if jax.process_count() > 1:
            texts = sharding.exchange(json.dumps(found))
            found = {key: why for text in texts for key, why in json_text.read(text).items()}
        rejected = [record for source in images for record in source.rejected]
        return [*rejected, *(Rejected(key, why) for key, why in sorted(found.items()))]

    def __call__(self, variables: Variables) -> Metrics:
        """Figures by name; those of `evaluate.also` begin with its name and a slash."""
        x, found = self._x, Metrics()
        embedding = Embedding(x.steps.embedder, variables, x.tokenizer, self._reading)
        if x.held_out is not None:
            for task in self._tasks.values():
                found |= task(embedding.images, embedding.texts, x.held_out, x.mesh)
        for source in x.also_held_out:
            for task in self._elsewhere.values():
                figures = task(embedding.images, embedding.texts, source, x.mesh)
                found |= {f"{source.name}/{name}": value for name, value in figures.items()}
        return found


def line(metrics: Metrics) -> str:
    """The figures that a reader of a log wants, in words."""
    parts = []
    for name in SHOWN:
        found = metrics.get(name)
        if isinstance(found, Share):
            parts.append(f"{glossary.name(name)} {found.value:.1%}")
    return ", ".join(parts) or "nothing to evaluate on"


SHOWN = (
    *("zero_shot_accuracy", "attack_success_rate", "target_base_rate", "poison_success_rate"),
    *("text_hit_at_1", "text_base_hit_at_1", "repeated_class_rate"),
    *("image_recall_at_1", "text_recall_at_1", "linear_probe_accuracy", "knn_accuracy"),
)


def pool_quality(pools: Pools, poisons: np.ndarray) -> Quality:
    """Sizes of the pools and, where poisons are known, how well they are told apart."""
    return {
        "safe_pool_size": int(np.count_nonzero(pools.is_safe)),
        "risky_pool_size": int(np.count_nonzero(~pools.is_safe)),
        "poisons_in_safe_pool": int(pools.is_safe[poisons].sum()),
        "excluded_pairs": len(pools.excluded),
        "excluded_poisons": int(np.isin(poisons, pools.excluded).sum()),
        **score_quality(pools.scores, poisons),
    }


def score_quality(scores: np.ndarray, poisons: np.ndarray) -> Quality:
    """How well low scores tell the poisons; None without poisons."""
    return {
        "score_auroc": detection.score_auroc(scores, poisons),
        "score_recall_at_1_percent": detection.score_recall(scores, poisons),
        **summary({_FPR: detection.fpr_at_full_recall(scores, poisons)}),
    }


# What a run's results always name, measured or not.
SHARES = (
    "zero_shot_accuracy",
    "attack_success_rate",
    "target_base_rate",
    "poison_success_rate",
)
NOTHING: dict[str, Any] = dict.fromkeys(
    [*SHARES, *(f"{name}_interval" for name in SHARES), "poison_base_rate"]
)
NO_POOLS: Quality = {
    "safe_pool_size": None,
    "risky_pool_size": None,
    "poisons_in_safe_pool": None,
    "excluded_pairs": None,
    "excluded_poisons": None,
    "score_auroc": None,
    "score_recall_at_1_percent": None,
    _FPR: None,
}
