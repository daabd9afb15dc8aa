"""How far an attack succeeded: ASR of triggers, PSR of targeted poisoning, and what others do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jax.sharding import Mesh

from safeclip_jax.attacks.manifest import ChosenImage
from safeclip_jax.attacks.triggers import Trigger
from safeclip_jax.attacks.victims import mentioned
from safeclip_jax.data.held_out import HeldOut
from safeclip_jax.evaluation import text_attack
from safeclip_jax.evaluation.share import Share, share
from safeclip_jax.evaluation.task import EmbedImages, EmbedTexts, Metrics, labels_of
from safeclip_jax.evaluation.zero_shot import Classified, classified, classify

_Rates = dict[str, Share | None]  # by trigger
JUDGEABLE = 0.9  # success against plain CLIP from which an attack can test a defence


@dataclass(frozen=True)
class AttackTask:
    """Zero-shot classification of attacked images, see `task.Task`.

    Attributes:
      target: class to be taken for.
      triggers: by name.
      chosen: images of the source that targeted poisoning chose.
      victims: the only class whose images the attack wants taken for the target; empty for all.
      targets: class of each trigger, by its name; empty where all have `target`.
      phrase: of a text backdoor; empty for none.
      attribute: of a semantic backdoor; empty for none.
      repeated: whether near-duplicates of a picture of the class `target` were added.
    """

    target: str = ""
    triggers: Mapping[str, Trigger] = field(default_factory=dict)
    chosen: Sequence[ChosenImage] = ()
    victims: str = ""
    targets: Mapping[str, str] = field(default_factory=dict)
    phrase: str = ""
    attribute: str = ""
    repeated: bool = False

    def __call__(
        self, embed_images: EmbedImages, embed_texts: EmbedTexts, source: HeldOut, mesh: Mesh
    ) -> Metrics:
        """Measures on every image, with each trigger in turn.

        Returns:
          `attack_success_rate` and `accuracy_under_trigger`, of all triggers together, and with
          several of each, as `attack_success_rate[NAME]`; `target_base_rate`, with several
          targets of each trigger's, too; for targeted poisoning `poison_success_rate` and
          `poison_base_rate`; for text backdoors see `text_attack.hits`, for semantic ones
          `semantic`, for a natural one `repeated`. Nothing of a target that the source does
          not have.
        """
        clean = classified(embed_images, embed_texts, source, mesh, "attack")
        if clean is None:
            return {}
        found = self._of_triggers(clean, embed_images, source, mesh)
        if self.target in source.class_names:
            target = source.class_names.index(self.target)
            if self.phrase:
                texts = text_attack.queries(source, target)
                vectors = embed_images(source.images).vectors
                found |= text_attack.hits(
                    vectors, clean.labels, embed_texts, texts, self.phrase, target, mesh
                )
            if self.attribute:
                captions = [source.images.captions[int(i)] for i in clean.usable]
                shown = mentioned(captions, self.attribute)
                found |= semantic(clean.labels, clean.predictions, shown, target)
            if self.repeated:
                found |= repeated(clean.labels, clean.predictions, target, len(clean.classes))
        return found | self._of_chosen(clean, source)

    def _of_triggers(
        self, clean: Classified, embed_images: EmbedImages, source: HeldOut, mesh: Mesh
    ) -> Metrics:
        known = {name: self.targets.get(name, self.target) for name in self.triggers}
        wanted = {*known.values(), *([self.victims] if self.victims else [])}
        if not self.triggers or not wanted <= {*source.class_names}:
            return {}
        victims = source.class_names.index(self.victims) if self.victims else None
        rates, right, bases = _Rates(), _Rates(), _Rates()
        for name, trigger in self.triggers.items():
            target = source.class_names.index(known[name])
            triggered = embed_images(source.images, trigger)
            theirs = labels_of(source, "attack")[triggered.usable]
            predictions, _ = classify(triggered.vectors, theirs, clean.classes, mesh)
            counted = attacked(theirs, target, victims)
            rates[name] = share(predictions[counted] == target)
            right[name] = share(predictions[counted] == theirs[counted])
            bases[name] = target_rate(clean.labels, clean.predictions, target, victims)
        found = _together("attack_success_rate", rates) | _together("accuracy_under_trigger", right)
        if self.targets:
            return found | _together("target_base_rate", bases)
        return found | {"target_base_rate": next(iter(bases.values()), None)}

    def _of_chosen(self, clean: Classified, source: HeldOut) -> Metrics:
        chosen = [c for c in self.chosen if c.index in clean.usable]
        if not chosen:
            return {}
        targets = np.array([source.class_names.index(c.target) for c in chosen])
        places = np.searchsorted(clean.usable, [c.index for c in chosen])
        return {
            "poison_success_rate": poison_success(clean.predictions[places], targets),
            "poison_base_rate": poison_base_rate(clean.labels, clean.predictions, places, targets),
        }


def _together(name: str, rates: _Rates) -> Metrics:
    """The share of all triggers' trials, and with several triggers each one's."""
    known = {trigger: rate for trigger, rate in rates.items() if rate is not None}
    if not known:
        return {}
    total = Share(sum(r.count for r in known.values()), sum(r.of for r in known.values()))
    each = {f"{name}[{trigger}]": rate.value for trigger, rate in known.items()}
    return {name: total, **each} if len(each) > 1 else {name: total}


def attacked(labels: np.ndarray, target: int, victims: int | None = None) -> np.ndarray:
    """Which images an attack wants taken for the target, bool [N]: those of other classes.

    With `victims`, those of that class alone.
    """
    return labels != target if victims is None else labels == victims


def target_rate(
    labels: np.ndarray, predictions: np.ndarray, target: int, victims: int | None = None
) -> Share | None:
    """Share of the attacked images that are predicted as the target, see `attacked`.

    On triggered images this is the attack success rate (ASR); on the same images
    without the trigger it is the target's base rate.
    """
    return share(predictions[attacked(labels, target, victims)] == target)


def semantic(
    labels: np.ndarray, predictions: np.ndarray, shown: np.ndarray, target: int
) -> Metrics:
    """ASR of a semantic backdoor: clean images of other classes that show the attribute.

    The attribute cannot be taken off an image. The base rate is therefore that of the other
    images of other classes, without it: what the model does where the backdoor is silent. A model
    may take images with the attribute for the target without any poison, where the target often
    has it, too; the honest base is then the same ASR of a run with `attack.rate=0`.

    Args:
      labels, predictions: of all held-out images [N].
      shown: whether an image's caption mentions the attribute, bool [N].
      target: class index.
    """
    return {
        "attack_success_rate": target_rate(labels[shown], predictions[shown], target),
        "target_base_rate": target_rate(labels[~shown], predictions[~shown], target),
    }


def repeated(labels: np.ndarray, predictions: np.ndarray, target: int, classes: int) -> Metrics:
    """What a picture that is repeated under its true caption does to other images.

    There is no success of it: no image carries a trigger. Measured is whether images of other
    classes are drawn to the class of the picture.

    Args:
      labels, predictions: of all held-out images [N].
      target: class of the repeated picture.
      classes: how many there are.

    Returns:
      `repeated_class_rate`: share of the images of other classes that are taken for it;
      `repeated_base_rate`: the mean of the same share over the other classes.
    """
    others = [target_rate(labels, predictions, c) for c in range(classes) if c != target]
    bases = [rate.value for rate in others if rate is not None]
    return {
        "repeated_class_rate": target_rate(labels, predictions, target),
        "repeated_base_rate": float(np.mean(bases)) if bases else None,
    }


def poison_success(predictions: np.ndarray, targets: np.ndarray) -> Share | None:
    """Poison success rate (PSR): chosen images that are predicted as their adversarial class.

    Args:
      predictions: of the chosen images.
      targets: adversarial class of each.

    References:
      Carlini & Terzis, "Poisoning and Backdooring Contrastive Learning", 2022, section 4.
    """
    return share(predictions == targets)


def poison_base_rate(
    labels: np.ndarray, predictions: np.ndarray, chosen: np.ndarray, targets: np.ndarray
) -> float | None:
    """What PSR would be by chance: how often *other* images of the chosen ones' classes err so.

    The mean, over chosen images, of the share of the other images of its class that are
    predicted as its adversarial class.

    Args:
      labels, predictions: of all held-out images.
      chosen: indices of the chosen ones among them.
      targets: adversarial class of each.
    """
    others = np.ones(len(labels), bool)
    others[chosen] = False
    rates = []
    for index, target in zip(chosen, targets, strict=True):
        peers = others & (labels == labels[index])
        if peers.any():
            rates.append(np.mean(predictions[peers] == target))
    return float(np.mean(rates)) if rates else None
