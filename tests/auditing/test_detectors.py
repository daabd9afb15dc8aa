"""The auditor's detectors against plain statements, and its verdicts on data of known truth."""

import numpy as np
import pytest
from scipy.stats import fisher_exact, kstest
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

from safeclip_jax.auditing import (
    detectors,
    findings,
    groups,
    mismatch,
    pattern,
    quality,
    reasons,
    verdict,
    words,
)
from safeclip_jax.auditing.detectors import Surroundings
from safeclip_jax.distributed import sharding
from tests.support.made_up_pairs import made

DEVICES = 8

SCALE = 20.0


@pytest.fixture(scope="module")
def mesh():
    return sharding.make_mesh()


def find(pairs, mesh, seed=0):
    source, vectors, *_ = pairs
    return findings.find(vectors, SCALE, mesh, source, seed=seed)


@pytest.fixture(scope="module")
def clean(mesh):
    return find(made(), mesh)


@pytest.fixture(scope="module")
def backdoor(mesh):
    return find(made(poisons=24), mesh)


def test_detectors_equal_plain_statements(mesh, monkeypatch):
    monkeypatch.setattr(detectors, "REFERENCES", 300)
    monkeypatch.setattr(detectors, "AT_ONCE", 256)
    _, vectors, *_ = made(700)
    around = Surroundings.draw(vectors, SCALE, 3, mesh)
    found = around.scores(lambda done, total: None)
    reference, (x, y) = around.images.numbers, (vectors.images, vectors.texts)
    assert len(reference) == 300
    forest = IsolationForest(random_state=3).fit(x[reference])
    np.testing.assert_allclose(found["isolation_forest"], -forest.score_samples(x), rtol=1e-6)
    np.testing.assert_allclose(found["similarity"], -np.sum(x * y, axis=1), atol=1e-6)

    def nearest(points, i):
        others = reference[reference != i]
        search = NearestNeighbors(n_neighbors=detectors.NEIGHBORS).fit(points[others])
        distances, places = search.kneighbors(points[i : i + 1])
        return distances[0], others[places[0]]

    for i in (0, 1, int(reference[0]), 699):
        distances, near = nearest(x, i)
        assert found["k_distance"][i] == pytest.approx(distances[-1], rel=1e-5)
        mean = y[near].mean(axis=0)
        expected = 1 - y[i] @ mean / np.linalg.norm(mean)
        assert found["captions_of_alike_images"][i] == pytest.approx(expected, abs=1e-5)
        mean = x[nearest(y, i)[1]].mean(axis=0)
        expected = 1 - x[i] @ mean / np.linalg.norm(mean)
        assert found["images_of_alike_captions"][i] == pytest.approx(expected, abs=1e-5)
        others = reference[reference != i]
        to_texts = SCALE * np.append(x[i] @ y[others].T, x[i] @ y[i]).astype(np.float64)
        to_images = SCALE * np.append(y[i] @ x[others].T, x[i] @ y[i]).astype(np.float64)
        lse = sum(logits[-1] - np.log(np.exp(logits).sum()) for logits in (to_texts, to_images))
        assert found["relative"][i] == pytest.approx(-lse / 2, rel=1e-4)


def test_unusable_pairs_have_no_score_and_are_no_reference(mesh):
    source, vectors, *_ = made(400)
    vectors.usable[:50] = False
    found = findings.find(vectors, SCALE, mesh, source)
    assert all(np.isnan(values[:50]).all() for values in found.scores.values())
    assert found.surroundings.images.numbers.min() >= 50
    assert len(found.order) == 350 and not found.flagged[:50].any()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1])
def test_the_number_of_misfits_is_estimated(share):
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(20):
        strangers = rng.random(5000) < share
        suspicion = np.where(strangers, rng.normal(3, 1, 5000), rng.gamma(2, 0.2, 5000))
        found = mismatch.estimate(suspicion, rng.normal(3, 1, 4000))
        low, high = found.interval
        inside.append(low <= strangers.sum() <= high)
        assert abs(found.count - strangers.sum()) <= 4 * np.sqrt(2 * strangers.sum()) + 2
    assert np.mean(inside) >= 0.8


def test_the_probability_of_a_misfit_is_calibrated():
    rng = np.random.default_rng(1)
    strangers = rng.random(40_000) < 0.1
    suspicion = np.where(strangers, rng.normal(2, 1, 40_000), rng.normal(-2, 1, 40_000))
    found = mismatch.estimate(suspicion, rng.normal(2, 1, 20_000)).probability
    for low, high in ((0.1, 0.4), (0.4, 0.7), (0.7, 1.01)):
        inside = (found >= low) & (found < high)
        assert strangers[inside].mean() == pytest.approx(found[inside].mean(), abs=0.12)
    assert np.all(np.diff(found[np.argsort(suspicion)]) >= 0)


def test_words_are_fishers_exact_test():
    captions = ["a red bird"] * 30 + ["a blue fish"] * 60 + ["a heart"] * 10
    misfits = np.zeros(100, bool)
    misfits[[0, 1, 2, 3, 4, 5, 90, 91, 92, 93, 94, 95, 96, 97]] = True
    found = {w.text: w for w in words.over_represented(captions, misfits, np.ones(100, bool))}
    table = [[8, 6], [2, 84]]
    expected = fisher_exact(table, "greater").pvalue * 4  # tried: a, red, bird, heart
    assert found["heart"].p_value == pytest.approx(expected)
    assert (found["heart"].suspects, found["heart"].captions) == (8, 10)
    assert found["a"].p_value == 1.0


def test_near_duplicates_equal_brute_force():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 64))
    x[400:] = x[:200] + 0.004 * rng.standard_normal((200, 64))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    distances = np.linalg.norm(x[:, None] - x, axis=-1)
    expected = np.argwhere(np.triu(distances <= groups.NEAR, 1))
    assert len(expected) == 200
    np.testing.assert_array_equal(groups.near(x, np.ones(600, bool), 0), expected)
    clusters = groups.clusters(expected, 600)
    assert [len(c) for c in clusters] == [2] * 200
    assert groups.clusters(np.zeros((0, 2), int), 600) == []


def test_groups_that_misfit_are_told_from_chance():
    clusters = [np.arange(10), np.arange(10, 14), np.arange(14, 16)]
    misfits = np.zeros(100, bool)
    misfits[:8] = misfits[14] = True
    (found,) = groups.misfitting("picture", clusters, misfits, 0.09, 1e-3)
    assert found.misfits == 8 and found.p_value < 1e-5


def test_a_pattern_is_found_where_there_is_one_and_only_there():
    rng = np.random.default_rng(0)

    def features(count, trigger):
        found = []
        for _ in range(count):
            image = rng.integers(0, 255, (48, 48, 3)).astype(np.uint8)
            if trigger:
                image[:6, :6] = 255
            found.append(pattern.features(image))
        return np.stack(found)

    numbers = np.arange(40), np.arange(100, 250)
    found = pattern.find((features(40, True), numbers[0]), (features(150, False), numbers[1]))
    assert found.auroc > 0.99 and found.p_value < 1e-9
    assert np.abs(found.difference)[:4, :4].mean() > 5 * np.abs(found.difference)[8:, 8:].mean()
    many = (features(110, True), np.arange(110)), (features(600, False), np.arange(200, 800))
    assert 0 < pattern.find(*many).p_value < 1e-50  # less than float32 can tell from 0
    chance = [
        pattern.find((features(16, False), numbers[0][:16]), (features(60, False), numbers[1][:60]))
        for _ in range(25)
    ]
    assert kstest([p.p_value for p in chance], "uniform").pvalue > 1e-3
    assert (
        pattern.find((features(6, True), numbers[0][:6]), (features(60, False), numbers[1][:60]))
        is None
    )


def test_clean_data_is_called_clean(clean):
    found = verdict.of(clean)
    assert not found.alarming and found.lines[0] == "No sign of an attack."
    assert clean.flagged.sum() <= 3 and clean.mismatch.interval[0] <= 3
    assert clean.trigger is None and not clean.targets and not clean.repeated


@pytest.mark.parametrize("seed", range(1, 3))
def test_clean_data_is_called_clean_again(mesh, seed):
    assert not verdict.of(find(made(seed=seed), mesh, seed)).alarming


def test_a_backdoor_is_found_with_target_trigger_and_poisons(backdoor):
    _, _, poisons, _ = made(poisons=24)
    found = verdict.of(backdoor)
    assert found.alarming and "backdoor towards “thing0”" in found.lines[0]
    low, high = backdoor.mismatch.interval
    assert low <= 24 <= high
    assert backdoor.flagged[poisons].mean() >= 0.9
    assert backdoor.flagged.sum() <= 24 + 6
    difference = np.abs(backdoor.trigger.difference).mean(axis=2)
    assert difference[-4:, -4:].mean() > 5 * difference[:-4, :-4].mean()
    assert quality.of(backdoor.scores["combined"], poisons).auroc > 0.995


def test_poisons_that_the_model_believes_are_found_by_what_their_pictures_share(mesh):
    pairs = made(poisons=40, believed=0.3)
    (source, _, poisons, _), found = pairs, find(pairs, mesh)
    assert found.strange[poisons].sum() < 5
    assert found.targets[0].text == "thing0" and verdict.of(found).alarming
    assert found.flagged[poisons].mean() > 0.9
    assert found.flagged.sum() - found.flagged[poisons].sum() <= 3
    lines = " ".join(verdict.of(found).lines)
    assert "towards “thing0”" in lines and "Pairs with it name: “thing0”" in lines
    caught = poisons[found.flagged[poisons]]
    why = reasons.of(found, caught, source.captions)
    assert all(why) and any("pairs with what they share" in " ".join(one) for one in why)


def test_poisons_among_poisons_are_found_by_the_target_that_they_name(mesh):
    pairs = made(poisons=60, alike=40)
    (_, _, poisons, _), found = pairs, find(pairs, mesh)
    assert found.strange[poisons[:40]].mean() < 0.1 < 0.5 < found.strange[poisons[40:]].mean()
    assert found.flagged[poisons].all()
    assert found.flagged.sum() - 60 <= 3


def test_repeated_pictures_under_other_captions_are_found(mesh):
    pairs = made(repeated=12)
    found = find(pairs, mesh)
    assert "targeted poisoning" in verdict.of(found).lines[0]
    (group,) = [g for g in found.repeated if g.kind == "picture"]
    np.testing.assert_array_equal(group.members, pairs[3])
    assert found.flagged[pairs[3]].all()
    for values in found.scores.values():
        assert np.isfinite(quality.of(values, pairs[3]).auroc)


def test_too_few_pictures_for_a_pattern_leave_it_out(mesh, monkeypatch):
    monkeypatch.setattr(pattern, "find", lambda suspects, like: None)
    found = find(made(poisons=24), mesh)
    assert found.pattern is None and "pattern" not in found.scores and not found.carriers.any()
    assert "name “thing0” too often" in verdict.of(found).lines[0]


def test_combined_is_a_mean_of_normal_quantiles():
    ranks = np.array([1, 2, 3, 4.0])
    both = findings.combined([ranks, ranks])
    np.testing.assert_allclose(both, findings.combined([ranks]), rtol=1e-6)
    np.testing.assert_allclose(both, -both[::-1], atol=1e-6)
    missing = findings.combined([ranks, np.array([np.nan] * 4)])
    np.testing.assert_allclose(missing, both / 2, rtol=1e-6)


def test_an_audit_repeats_itself(backdoor, mesh):
    again = find(made(poisons=24), mesh)
    for name, values in backdoor.scores.items():
        np.testing.assert_array_equal(values, again.scores[name])
    np.testing.assert_array_equal(backdoor.flagged, again.flagged)
