"""SafeCLIP as the authors' code runs, against a statement of what it does in other words."""

import math

import numpy as np
import pytest
from sklearn import mixture
from sklearn.mixture import GaussianMixture

from safeclip_jax.defenses import DEFENSES
from safeclip_jax.defenses.defense import Place
from safeclip_jax.defenses.mixture import fit
from safeclip_jax.defenses.published import PublishedSafeCLIP
from safeclip_jax.defenses.safeclip import SafeCLIP

PAIRS, BATCH, EPOCHS = 1_000_000, 512, 32
RAMP, PEAK = 10_000, 5e-4
A_PASS = PAIRS // BATCH


def rates(defense, epoch, stage, steps, first=0.15):
    """Those of all steps of a stage."""
    (found,) = [s for s in defense.stages(epoch) if s.name == stage]
    place = (A_PASS, PEAK, RAMP, lambda: first)
    return np.array(
        [defense.rate(found, Place(epoch, EPOCHS, step, steps, *place)) for step in range(steps)]
    )


def told(counter, end):
    """The code's rate at a counter of steps, for a cosine that should end at `end`."""
    if counter < RAMP:
        return PEAK * (counter + 1) / RAMP
    return PEAK / 2 * (1 + math.cos(math.pi * (counter - RAMP) / (end - RAMP)))


def test_the_first_epochs_begin_a_pass_late():
    defense = PublishedSafeCLIP()
    for epoch in range(5):
        counters = A_PASS * (epoch + 1) + np.arange(A_PASS)
        expected = [told(counter, A_PASS * 6) for counter in counters]
        np.testing.assert_allclose(rates(defense, epoch, "warm-up", A_PASS), expected, rtol=1e-9)
    assert set(rates(defense, 5, "slow start", 3)) == {5e-6}


def test_the_clip_rate_ends_early_and_rises_again():
    """Epochs count from 1 here: the peak is in 18 or 19, zero in 26, the peak again at the end."""
    end = sum(0.15 + 0.01 * i for i in range(26)) * A_PASS
    mean = int(end // 26)
    found = {}
    for epoch in range(6, EPOCHS):
        share = min(0.15 + 0.01 * (epoch - 6), 0.85)
        steps = int(share * PAIRS) // BATCH
        found[epoch + 1] = rates(PublishedSafeCLIP(), epoch, "safe", steps)
        expected = [told(mean * (epoch + 1) + step, end) for step in range(steps)]
        np.testing.assert_allclose(found[epoch + 1], expected, rtol=1e-9)
    assert max(found, key=lambda e: found[e].max()) in (18, 19)
    assert found[7].max() < 0.5 * PEAK
    assert found[26].min() < 1e-3 * PEAK and found[32][-1] > 0.97 * PEAK


def test_the_risky_rate_swings():
    end = sum(0.15 + 0.01 * i for i in range(26)) * A_PASS
    starts = []
    for epoch in range(6, EPOCHS):
        steps = int((0.85 - 0.01 * (epoch - 6)) * PAIRS) // BATCH
        starts.append(rates(PublishedSafeCLIP(), epoch, "risky", steps)[0])
        assert starts[-1] == pytest.approx(told(steps * (epoch + 1), end), rel=1e-9)
    turns = np.sum(np.diff(np.sign(np.diff(starts))) != 0)
    assert min(starts) < 0.05 * PEAK and max(starts) > 0.95 * PEAK and turns >= 4


def test_the_rates_can_be_the_runs():
    defense = PublishedSafeCLIP(code_rates=False)
    (_, safe) = defense.stages(9)
    assert defense.rate(safe, Place(9, 32, 0, 9, 99, PEAK, RAMP, lambda: 0.2)) is None


@pytest.fixture(scope="module")
def scores():
    rng = np.random.default_rng(3)
    parts = rng.normal(0.02, 0.08, 900), rng.normal(0.3, 0.05, 2100)
    return np.concatenate(parts).astype(np.float32)


def test_pools_are_those_of_scikit_learns_defaults_on_raw_scores(scores):
    model = GaussianMixture(n_components=2, random_state=0).fit(scores[:, None].astype(float))
    safe = model.predict_proba(scores[:, None].astype(float))[:, np.argmax(model.means_)]
    defense = PublishedSafeCLIP(seed=7)
    first = defense.pools(6, scores, None)
    np.testing.assert_array_equal(first.is_safe, safe > 0.9)
    assert first.share > 0.5
    second = defense.pools(7, scores, first)
    count = round(len(scores) * min(first.share + 0.01, 0.85))
    assert np.count_nonzero(second.is_safe) == count
    assert safe[second.is_safe].min() >= safe[~second.is_safe].max() - 1e-6
    ours = SafeCLIP(seed=7).pools(6, scores, None)
    assert np.count_nonzero(ours.is_safe != first.is_safe) > 0


def test_the_codes_mixture_has_scikit_learns_defaults_and_the_seed_0(scores, monkeypatch):
    made = []

    def noted(*args, **kwargs):
        made.append((args, kwargs))
        return GaussianMixture(*args, **kwargs)

    monkeypatch.setattr(mixture, "GaussianMixture", noted)
    found = {tuple(fit(scores, seed, by_the_code=True).means) for seed in range(3)}
    assert len(found) == 1 and made[1::2] == [((2,), {"random_state": 0})] * 3


def test_nothing_holds_the_first_pool(scores):
    low = np.where(np.arange(len(scores)) < 5, 0.9, 0.0) + scores * 1e-3
    assert np.count_nonzero(PublishedSafeCLIP().pools(6, low, None).is_safe) == 5
    assert np.count_nonzero(PublishedSafeCLIP(floor=True).pools(6, low, None).is_safe) == 30
    high = np.where(np.arange(len(scores)) < 100, -0.9, 0.3) + scores * 1e-3
    first = PublishedSafeCLIP().pools(6, high, None)
    assert first.share > 0.95 and PublishedSafeCLIP().pools(7, high, first).share == 0.85


def test_with_all_off_it_is_safeclip(scores):
    off = {"rule": "monotone", "first_cap": 0.85, "floor": True}
    plain = PublishedSafeCLIP(**off, crosswise=False, code_rates=False, augmented_scores=False)
    assert not plain.scores_views and PublishedSafeCLIP().scores_views
    assert plain.stages(9) == SafeCLIP().stages(9) and plain.stages(5) == SafeCLIP().stages(5)
    assert plain.pools(6, scores, None).digest() == SafeCLIP().pools(6, scores, None).digest()
    assert [s.objective.name for s in DEFENSES["published"].stages(9)] == ["unimodal", "crosswise"]
