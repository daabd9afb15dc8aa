import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from safeclip_jax.defenses import pool_files, pools
from safeclip_jax.defenses.mixture import Mixture, fit
from safeclip_jax.defenses.safeclip import SafeCLIP
from safeclip_jax.errors import UserError


def two_humps(n=2000, poisons=100, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0.1, 0.08, poisons), rng.normal(0.6, 0.1, n - poisons)])


def test_fit_recovers_the_components():
    scores = two_humps(20_000, 6_000)
    mixture = fit(scores, seed=0)
    np.testing.assert_allclose(mixture.means, [0.1, 0.6], atol=0.01)
    np.testing.assert_allclose(mixture.stds, [0.08, 0.1], atol=0.01)
    np.testing.assert_allclose(mixture.weights, [0.3, 0.7], atol=0.02)


def test_p_safe_equals_scikit_learn():
    from sklearn.mixture import GaussianMixture

    scores = two_humps()
    standard = ((scores - scores.mean()) / scores.std())[:, None]
    reference = GaussianMixture(2, random_state=3, max_iter=200, tol=1e-4).fit(standard)
    safe = np.argmax(reference.means_)
    expected = reference.predict_proba(standard)[:, safe]
    np.testing.assert_allclose(fit(scores, seed=3).p_safe(scores), expected, atol=1e-6)


@pytest.mark.parametrize("stds", [(0.05, 0.2), (0.2, 0.05), (0.1, 0.1)])
def test_monotone_p_safe_rises_and_agrees_with_the_paper_inside(stds):
    mixture = Mixture(np.array([0.2, 0.6]), np.array(stds), np.array([0.3, 0.7]))
    x = np.linspace(-1.5, 2, 2001)
    monotone, paper = mixture.monotone_p_safe(x), mixture.p_safe(x)
    assert np.all(np.diff(monotone) >= 0)
    inside = (x > 0.2) & (x < 0.6)
    np.testing.assert_array_equal(monotone[inside], paper[inside])
    assert (np.diff(paper).min() < 0) == (stds[0] != stds[1])


def test_the_paper_rule_admits_the_far_left_tail_and_monotone_does_not():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0.3, 0.03, 3000), rng.normal(0.5, 0.2, 3000), [-0.6]])
    outlier = len(scores) - 1
    assert outlier in pools.split(scores, seed=0, rule="paper", threshold=0.9).safe
    assert outlier not in pools.split(scores, seed=0, rule="monotone", threshold=0.9).safe


def test_a_high_score_is_safe_beside_the_probability_by_either_rule():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0.3, 0.03, 3000), rng.normal(0.5, 0.2, 3000)])
    for rule in pools.RULES:
        plain, also = (
            pools.split(scores, seed=0, rule=rule, threshold=0.9, safe_score=safe_score)
            for safe_score in (np.inf, 0.38)
        )
        expected = (plain.p_safe > 0.9) | (plain.scores > 0.38)
        np.testing.assert_array_equal(also.is_safe, expected)
        assert len(also.safe) > len(plain.safe) + 20
        np.testing.assert_array_equal(plain.is_safe, plain.p_safe > 0.9)


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(
        st.one_of(st.floats(-1, 1, width=32), st.just(float("nan"))), min_size=2, max_size=60
    ),
    share=st.floats(0, 1),
    rule=st.sampled_from(pools.RULES),
    excluded=st.sets(st.integers(0, 59)),
)
def test_pools_partition_the_pairs(scores, share, rule, excluded):
    excluded = np.array(sorted(i for i in excluded if i < len(scores)), np.int32)
    usable = ~np.isnan(scores)
    usable[excluded] = False
    if not usable.any():
        with pytest.raises(UserError):
            pools.split(scores, seed=0, rule=rule, share=share, excluded=excluded)
        return
    found = pools.split(scores, seed=0, rule=rule, share=share, excluded=excluded)
    assert sorted([*found.safe, *found.risky]) == list(range(len(scores)))
    assert found.excluded.tolist() == excluded.tolist() and not found.p_safe[excluded].any()
    assert len(found.safe) == min(round(share * len(scores)), usable.sum())
    assert usable[found.safe].all()
    if rule == "monotone" and len(found.safe) and len(found.risky):
        risky = found.scores[np.setdiff1d(found.risky, excluded)]
        assert found.scores[found.safe].min() >= np.nanmax(risky, initial=-np.inf)


RATHER_EQUAL = st.lists(
    st.one_of(st.sampled_from([-0.5, -0.0, 0.0, 0.25, np.nan]), st.floats(-1, 1, width=32)),
    min_size=2,
    max_size=80,
)


@settings(max_examples=100, deadline=None)
@given(
    scores=RATHER_EQUAL,
    rule=st.sampled_from(pools.RULES),
    excluded=st.sets(st.integers(0, 79)),
    how=st.one_of(
        st.fixed_dictionaries({"share": st.floats(0, 1)}),
        st.fixed_dictionaries({"threshold": st.floats(0, 1), "safe_score": st.floats(0, 1)}),
        st.fixed_dictionaries({"threshold": st.floats(0, 1), "most": st.floats(0.3, 1)}),
    ),
)
def test_a_split_is_that_of_a_plain_statement_with_ties_and_missing_scores(
    scores, rule, excluded, how
):
    scores, n = np.float32(scores), len(scores)
    excluded = np.array(sorted(i for i in excluded if i < n), np.int32)
    usable = ~np.isnan(scores)
    usable[excluded] = False
    assume(usable.any())
    mixture = fit(scores[usable], 0, by_the_code=rule == "code")
    p_safe = np.zeros(n, np.float32)
    if mixture is not None:
        by_rule = mixture.monotone_p_safe if rule == "monotone" else mixture.p_safe
        p_safe[usable] = by_rule(scores[usable])
    rank = p_safe if rule != "monotone" and mixture is not None else scores
    then = scores if rule == "code" else np.zeros(n)
    in_order = sorted(np.flatnonzero(usable), key=lambda i: (-rank[i], -then[i], i))
    if "share" in how or mixture is None:
        expected = in_order[: round(how.get("share", 0.5) * n)]
    else:
        safe_score = how.get("safe_score", np.inf)
        expected = np.flatnonzero(usable & ((p_safe > how["threshold"]) | (scores > safe_score)))
    if "threshold" in how and len(expected) / n > how.get("most", 1.0):
        expected = in_order[: round(how["most"] * n)]
    found = pools.split(scores, seed=0, rule=rule, excluded=excluded, **how)
    assert found.safe.tolist() == sorted(expected)
    assert found.risky.tolist() == sorted(set(range(n)) - set(expected))
    np.testing.assert_array_equal(found.p_safe, p_safe)
    np.testing.assert_array_equal(found.p_safe_of(np.arange(n)[::-2]), p_safe[::-2])
    indices = np.concatenate([found.safe, excluded]).astype("<i4").tobytes()
    assert found.digest() == hashlib.sha256(n.to_bytes(8, "little") + indices).hexdigest()


def test_degenerate_scores():
    same = pools.split(np.full(10, 0.3), seed=0, threshold=0.9)
    assert same.mixture is None and same.safe.tolist() == [0, 1, 2, 3, 4]
    for bad in ([0.5], [np.nan, np.nan], []):
        with pytest.raises(UserError, match="at least 2"):
            pools.split(np.array(bad), seed=0, threshold=0.9)
    with pytest.raises(UserError, match="pair 1 is infinite"):
        pools.split(np.array([0.1, np.inf]), seed=0, threshold=0.9)


def test_growth_and_cap():
    defense = SafeCLIP(warmup_epochs=1, slow_epochs=1, growth=0.03, cap=0.6)
    scores = np.float32(np.random.default_rng(0).permutation(two_humps(1000, 700)))
    before = defense.pools(2, scores, None)
    assert 0 < len(before.safe) < 0.6 * 1000
    sizes = [len(before.safe)]
    for epoch in range(3, 20):
        before = defense.pools(epoch, scores, before)
        sizes.append(len(before.safe))
    assert all(b - a in (30, 600 - a) for a, b in itertools.pairwise(sizes))
    assert sizes[-1] == 600


def test_first_pool_is_capped():
    defense = SafeCLIP(cap=0.5)
    assert len(defense.pools(6, np.float32(two_humps()), None).safe) == 1000


def test_first_pool_is_never_empty():
    scores = np.float32(np.random.default_rng(0).normal(0.5, 0.1, 1000))
    defense = SafeCLIP(threshold=1.0, growth=0.02)
    assert len(defense.pools(6, scores, None).safe) == 20


def test_saved_pools_are_the_same_and_damage_is_found(tmp_path):
    excluded = np.array([3, 1500], np.int32)
    found = pools.split(two_humps(), seed=0, threshold=0.9, excluded=excluded)
    assert found.digest() != pools.split(two_humps(), seed=0, threshold=0.9).digest()
    path = pool_files.path(tmp_path, 7)
    pool_files.save(found, path)
    again = pool_files.load(path)
    assert again.digest() == found.digest()
    for name in ("safe", "risky", "scores", "p_safe", "excluded"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    np.testing.assert_array_equal(again.mixture.means, found.mixture.means)
    with np.load(path) as data:
        arrays = dict(data)
    arrays["safe_bits"][0] ^= 1
    with path.open("wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(UserError, match="digest"):
        pool_files.load(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot be read"):
        pool_files.load(path)


@pytest.mark.parametrize("rule", ["monotone", "paper"])
def test_files_that_note_indices_and_probabilities_are_still_read(rule, tmp_path):
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0.3, 0.03, 3000), rng.normal(0.5, 0.2, 3000), [np.nan]])
    excluded = np.array([3, 1500], np.int32)
    found = pools.split(scores, seed=0, rule=rule, threshold=0.9, excluded=excluded)
    m, path = found.mixture, tmp_path / "epoch_007.npz"
    np.savez(
        path,
        safe=found.safe,
        scores=found.scores,
        p_safe=found.p_safe,
        barred=found.excluded,
        mixture=np.stack([m.means, m.stds, m.weights]),
        digest=np.frombuffer(found.digest().encode(), np.uint8),
    )
    old = pool_files.load(path)
    pool_files.save(found, pool_files.path(tmp_path, 7))
    new = pool_files.load(pool_files.path(tmp_path, 7))
    assert pool_files.path(tmp_path, 7).stat().st_size < 4.2 * len(scores) + 2000
    for name in ("rule", "is_safe", "safe", "risky", "scores", "p_safe", "excluded"):
        np.testing.assert_array_equal(getattr(old, name), getattr(new, name))
