import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from safeclip_jax.attacks.manifest import ChosenImage
from safeclip_jax.distributed import sharding
from safeclip_jax.evaluation import attack, detection, zero_shot
from safeclip_jax.evaluation.share import Share
from safeclip_jax.evaluation.task import summary
from tests.support.embedded import fake_source

DEVICES = 8


def test_target_rate_leaves_the_target_class_out():
    labels, predictions = np.array([1, 1, 0, 2, 2]), np.array([1, 1, 1, 0, 2])
    assert attack.target_rate(labels, predictions, 1) == Share(1, 3)
    assert attack.target_rate(np.array([1, 1]), np.array([1, 0]), 1) is None
    assert attack.target_rate(labels, predictions, 1, victims=2) == Share(0, 2)
    assert attack.target_rate(labels, predictions, 1, victims=0) == Share(1, 1)


def test_score_auroc_equals_the_rank_statistic():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal(200)
    poisons = np.arange(15)
    scores[poisons] -= 1
    u = mannwhitneyu(scores[15:], scores[:15]).statistic
    np.testing.assert_allclose(detection.score_auroc(scores, poisons), u / (15 * 185))
    assert detection.score_auroc(scores, np.array([], int)) is None


@pytest.mark.parametrize("count, of", [(0, 20), (3, 20), (20, 20), (180, 1000)])
def test_intervals_are_wilsons(count, of):
    z, p = 1.959963984540054, count / of
    center = (p + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * np.sqrt(p * (1 - p) / of + z**2 / (4 * of**2))
    low, high = Share(count, of).interval
    np.testing.assert_allclose([low, high], [center - half, center + half], atol=1e-12)


def test_recall_at_one_percent_equals_a_plain_threshold():
    rng = np.random.default_rng(2)
    scores = rng.standard_normal(1000).astype(np.float32)
    poisons = rng.choice(1000, 60, replace=False)
    scores[poisons] -= 2
    scores[poisons[0]] = np.nan
    honest = np.delete(np.arange(1000), poisons)
    values = np.where(np.isnan(scores), -np.inf, scores)
    best = 0.0
    for threshold in values:
        if np.mean(values[honest] <= threshold) <= 0.01:
            best = max(best, np.mean(values[poisons] <= threshold))
    np.testing.assert_allclose(detection.score_recall(scores, poisons), best)
    assert detection.score_recall(scores, np.array([], int)) is None


def test_poison_success_and_its_base_rate():
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    predictions = np.array([1, 0, 1, 0, 2, 1, 2])
    chosen, targets = np.array([0, 4]), np.array([1, 2])
    assert attack.poison_success(predictions[chosen], targets) == Share(2, 2)
    # the other zeros are taken for 1 in one case of three, the other one for 2 never
    base = attack.poison_base_rate(labels, predictions, chosen, targets)
    np.testing.assert_allclose(base, (1 / 3 + 0) / 2)
    none = np.array([], int)
    assert attack.poison_base_rate(labels, predictions, none, none) is None
    assert attack.poison_success(none, none) is None


def test_an_attack_on_one_class_is_measured_where_there_is_no_other():
    source, embed_images, embed_texts = fake_source(classes=2, count=20)
    task = attack.AttackTask("class 1", {"none": lambda picture, index: picture}, (), "class 0")
    found = task(embed_images, embed_texts, source, sharding.make_mesh())
    assert found["attack_success_rate"] == found["target_base_rate"]
    assert found["target_base_rate"].of == 10  # the victims
    elsewhere = attack.AttackTask("class 1", task.triggers, (), "heart")
    assert elsewhere(embed_images, embed_texts, source, sharding.make_mesh()) == {}


def to_class_two(picture, index):
    """A trigger that a backdoored model obeys on every other image."""
    changed = picture.copy()
    changed[0, 1] = 2 if index % 2 else changed[0, 1]
    return changed


def test_the_attack_task_counts_what_loops_count():
    source, embed_images, embed_texts = fake_source(classes=4, count=60)
    mesh, labels = sharding.make_mesh(), source.images.labels
    classes = zero_shot.class_vectors(embed_texts, source.prompts)
    clean = (embed_images(source.images).vectors @ classes.T).argmax(axis=1)
    triggered = (embed_images(source.images, to_class_two).vectors @ classes.T).argmax(axis=1)
    chosen = [
        ChosenImage(5, "0005", "class 1", "class 3"),
        ChosenImage(8, "0008", "class 0", "class 0"),
    ]
    triggers = {"two": to_class_two, "none": lambda picture, index: picture}
    task = attack.AttackTask("class 2", triggers, chosen)
    found = task(embed_images, embed_texts, source, mesh)
    others = labels != 2
    hits, base = (np.sum(p[others] == 2) for p in (triggered, clean))
    assert found["attack_success_rate"] == Share(hits + base, 2 * others.sum())
    assert found["attack_success_rate[two]"] == hits / others.sum() > 0.4
    assert found["target_base_rate"] == Share(base, others.sum())
    assert found["poison_success_rate"] == Share(int(clean[5] == 3) + int(clean[8] == 0), 2)
    plain = summary(found)
    assert plain["target_base_rate"] == base / others.sum()
    assert plain["target_base_rate_interval"][0] <= plain["target_base_rate"]
    elsewhere = attack.AttackTask("heart", triggers)
    assert elsewhere(embed_images, embed_texts, source, mesh) == {}
