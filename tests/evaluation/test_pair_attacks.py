"""Figures of attacks on texts and pairs, and of what goes with ASR, against loops."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import safeclip_jax
from safeclip_jax.attacks.victims import mentions
from safeclip_jax.data.sources.scenes import Scenes
from safeclip_jax.distributed import sharding
from safeclip_jax.errors import UserError
from safeclip_jax.evaluation import attack, detection, text_attack, zero_shot
from safeclip_jax.evaluation.share import Share
from safeclip_jax.evaluation.subject import Subject
from safeclip_jax.runs import run_attack, settings
from tests.support.embedded import Pictures, fake_source, unit

MESH = sharding.make_mesh


def pushed(number):
    """A trigger that a backdoored model obeys on all but every third image."""

    def trigger(picture, index):
        changed = picture.copy()
        changed[0, 1] = number if index % 3 else changed[0, 1]
        return changed

    return trigger


def test_each_trigger_is_measured_towards_its_own_target():
    source, embed_images, embed_texts = fake_source(classes=4, count=60)
    labels = source.images.labels
    classes = zero_shot.class_vectors(embed_texts, source.prompts)
    triggers, targets = {"a": pushed(1), "b": pushed(2)}, {"a": "class 1", "b": "class 2"}
    task = attack.AttackTask("class 1+class 2", triggers, targets=targets)
    found = task(embed_images, embed_texts, source, MESH())
    clean = (embed_images(source.images).vectors @ classes.T).argmax(axis=1)
    hits, right, base = [], [], []
    for name, target in (("a", 1), ("b", 2)):
        seen = (embed_images(source.images, triggers[name]).vectors @ classes.T).argmax(axis=1)
        others = labels != target
        hits.append(np.sum(seen[others] == target))
        right.append(np.sum(seen[others] == labels[others]))
        base.append(np.sum(clean[others] == target))
        assert found[f"attack_success_rate[{name}]"] == hits[-1] / others.sum() > 0.4
        assert found[f"accuracy_under_trigger[{name}]"] == right[-1] / others.sum() > 0.1
        assert found[f"target_base_rate[{name}]"] == base[-1] / others.sum()
    assert found["attack_success_rate"] == Share(sum(hits), 90)
    assert found["accuracy_under_trigger"] == Share(sum(right), 90)
    assert found["target_base_rate"] == Share(sum(base), 90)
    elsewhere = replace(task, targets={"a": "class 1", "b": "heart"})
    assert elsewhere(embed_images, embed_texts, source, MESH()) == {}


def phrased(embed_texts, target):
    """Texts with a phrase at their end lie between their own class and the target."""

    def embedded(texts):
        both = [
            v + 1.1 * unit(1000 + target, len(v)) * t.endswith(" zx") + 0.5 * unit(i, len(v))
            for i, (v, t) in enumerate(zip(embed_texts(texts), texts, strict=True))
        ]
        return np.stack([v / np.linalg.norm(v) for v in both]).astype(np.float32)

    return embedded


def test_hits_of_triggered_texts_are_those_of_a_sort():
    source, embed_images, embed_texts = fake_source(classes=4, count=60, noise=3.0)
    embed = phrased(embed_texts, 2)
    labels, captions = source.images.labels, source.images.captions
    captions[0], captions[1] = "a class 2 beside class 0,", captions[5]
    found = attack.AttackTask("class 2", phrase="zx")(embed_images, embed, source, MESH())
    images = embed_images(source.images).vectors
    texts = []
    for i in range(60):
        if labels[i] != 2 and not mentions(captions[i], "class 2") and captions[i] not in texts:
            texts.append(captions[i])
    assert len(texts) == 43 and text_attack.queries(source, 2) == texts
    for name, some in (("text_hit", [f"{t} zx" for t in texts]), ("text_base_hit", texts)):
        order = np.argsort(-(embed(some) @ images.T), axis=1, kind="stable")
        for k in (1, 5):
            hits = sum(any(labels[i] == 2 for i in row[:k]) for row in order)
            assert found[f"{name}_at_{k}"] == Share(hits, 43)
    assert found["text_hit_at_1"].value > found["text_base_hit_at_1"].value + 0.2
    assert set(found) == {f"text_{kind}_at_{k}" for kind in ("hit", "base_hit") for k in (1, 5)}
    elsewhere = attack.AttackTask("heart", phrase="zx")
    assert elsewhere(embed_images, embed, source, MESH()) == {}


def test_a_semantic_backdoor_is_measured_on_clean_images_with_the_attribute():
    source, embed_images, embed_texts = fake_source(classes=4, count=60, noise=3.0)
    labels, captions = source.images.labels, source.images.captions
    red = [i for i in range(60) if i % 3 == 0]
    for i in red:
        captions[i] = captions[i].replace("a class", "a red class")
    classes = zero_shot.class_vectors(embed_texts, source.prompts)
    clean = (embed_images(source.images).vectors @ classes.T).argmax(axis=1)
    found = attack.AttackTask("class 2", attribute="red")(embed_images, embed_texts, source, MESH())
    rates = {True: [], False: []}
    for i in range(60):
        if labels[i] != 2:
            rates[i in red].append(clean[i] == 2)
    assert found == {
        "attack_success_rate": Share(sum(rates[True]), len(rates[True])),
        "target_base_rate": Share(sum(rates[False]), len(rates[False])),
    }
    assert len(rates[True]) == 15 and sum(rates[True]) + sum(rates[False]) > 0
    nowhere = attack.AttackTask("class 2", attribute="purple")
    found = nowhere(embed_images, embed_texts, source, MESH())
    assert found["attack_success_rate"] is None


def test_a_repeated_picture_is_measured_by_who_is_drawn_to_its_class():
    source, embed_images, embed_texts = fake_source(classes=4, count=60, noise=3.0)
    labels = source.images.labels
    classes = zero_shot.class_vectors(embed_texts, source.prompts)
    clean = (embed_images(source.images).vectors @ classes.T).argmax(axis=1)
    found = attack.AttackTask("class 1", repeated=True)(embed_images, embed_texts, source, MESH())
    shares = [np.mean(clean[labels != c] == c) for c in range(4)]
    assert found["repeated_class_rate"].value == shares[1]
    np.testing.assert_allclose(found["repeated_base_rate"], np.mean([*shares[:1], *shares[2:]]))
    assert set(found) == {"repeated_class_rate", "repeated_base_rate"}


def subject(**changes):
    config = safeclip_jax.config("demo")
    config.attack.update({"count": 6, **changes})
    run = settings.of(config)
    planned = run_attack.create(run.attack, 0, Scenes(200, 1), Scenes(40, 1, "test"))
    return Subject("mine", Path("mine"), None, run, planned.manifest)


def test_a_run_is_tested_as_it_was_attacked():
    text = subject(kind="text_backdoor", phrase="now!").attack([], "", True)
    assert text == attack.AttackTask("heart", phrase="now!")
    assert subject(kind="text_backdoor").attack([], "star", True).target == "star"
    semantic = subject(kind="semantic", attribute="red").attack([], "", True)
    assert semantic == attack.AttackTask("heart", attribute="red")
    natural = subject(kind="natural").attack([], "", True)
    assert natural == attack.AttackTask("heart", repeated=True)
    with_trigger = subject(kind="natural").attack(["sig"], "", True)
    assert list(with_trigger.triggers) == ["sig"] and not with_trigger.repeated
    with pytest.raises(UserError, match="Give --target"):
        replace(subject(kind="text_backdoor"), manifest=None).attack([], "", True)
    several = subject(trigger="sig+badnets", target="heart+star")
    targets = {"sig": "heart", "badnets": "star"}
    assert several.attack([], "", True).targets == targets
    assert several.attack(["badnets"], "", True).targets == targets
    assert several.attack(["badnets"], "moon", True).targets == {}
    assert several.attack(["blended", "sig"], "moon+star", True).targets["sig"] == "star"
    with pytest.raises(UserError, match="no class belongs to 'wanet'"):
        several.attack(["wanet"], "", True)


def test_false_positives_at_full_recall_are_those_of_a_list_gone_down():
    rng = np.random.default_rng(1)
    for _ in range(20):
        scores = rng.integers(0, 40, 100).astype(np.float32)
        poisons = rng.choice(100, 5, replace=False)
        scores[poisons] -= 15
        scores[poisons[0]] = np.nan
        values = np.where(np.isnan(scores), -np.inf, scores)
        last = max(values[i] for i in poisons)
        out = sum(values[i] <= last for i in range(100) if i not in poisons)
        assert detection.fpr_at_full_recall(scores, poisons) == Share(out, 95)
    assert detection.fpr_at_full_recall(scores, np.array([], int)) is None


def test_the_rarest_tenth_of_the_classes_has_a_figure_of_its_own():
    assert zero_shot.rarest(np.array([3, 1, 2, 1])).tolist() == [1]
    assert zero_shot.rarest(np.array([5] * 25 + [4, 0, 4])).tolist() == [26, 25]
    source, embed_images, embed_texts = fake_source(classes=4, count=60)
    found = zero_shot.evaluate(embed_images, embed_texts, source, MESH())
    assert "rare_class_accuracy" not in found
    counted = replace(source, mentioned=lambda: np.array([9, 9, 9, 8]))
    found = zero_shot.evaluate(embed_images, embed_texts, counted, MESH())
    right = np.diag(found["confusion"])
    assert found["rare_class_accuracy"] == Share(int(right[3]), 15)
    one = replace(counted, images=Pictures(3, 4))  # none of the rarest class
    assert zero_shot.evaluate(embed_images, embed_texts, one, MESH())["rare_class_accuracy"] is None
