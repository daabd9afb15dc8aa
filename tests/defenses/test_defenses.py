"""Defences as plans: which stages an epoch has, on which pairs."""

import numpy as np
import pytest

from safeclip_jax.defenses import DEFENSES
from safeclip_jax.defenses.defense import Before
from safeclip_jax.defenses.pools import split
from safeclip_jax.defenses.safeclip import SafeCLIP
from safeclip_jax.defenses.safeclip_plus import SafeCLIPPlus
from safeclip_jax.defenses.scores import SCORES
from safeclip_jax.errors import UserError
from safeclip_jax.runs import settings

COUNT = 2000


def scores(safe=1600, seed=0):
    rng = np.random.default_rng(seed)
    low, high = rng.normal(0.2, 0.05, 2000 - safe), rng.normal(0.6, 0.05, safe)
    return np.float32(np.concatenate([low, high]))


def run_of(name, **changes):
    config = settings.defaults()
    config.defense = name
    config.update_from_flattened_dict(changes)
    return settings.of(config)


def planned(name, **changes):
    return run_of(name, **{f"{name}.{key}": value for key, value in changes.items()}).plan


def pairs_of(stage, pools=None):
    """The pairs that a stage trains; their number is as planned, where that is known."""
    found, count = stage.part.indices(COUNT, pools), stage.part.count(COUNT)
    assert count in (None, len(found))
    assert (np.diff(found) > 0).all()
    return found


def kinds(defense, epoch, pools=None):
    return [(s.objective.name, s.augment, len(pairs_of(s, pools))) for s in defense.stages(epoch)]


def test_plans_without_pools():
    for epoch in range(5):
        assert kinds(planned("none"), epoch) == [("clip", False, 2000)]
        assert kinds(planned("augmentation"), epoch) == [("clip", True, 2000)]
        tuned = planned("cleanclip")
        assert kinds(tuned, epoch) == [("clip_and_unimodal", False, 2000)]
        matched = "bank_matched" if epoch % 2 else "clip"
        assert kinds(planned("roclip"), epoch) == [(matched, True, 2000)]
        assert planned("roclip").before(epoch) == Before()
    third = [kinds(planned("roclip", every=3), e)[0][0] for e in range(6)]
    assert third == ["clip", "clip", "bank_matched"] * 2


def test_the_weight_of_cleanclips_unimodal_losses_reaches_its_objective():
    (stage,) = planned("cleanclip", unimodal_weight=0.25).stages(0)
    assert stage.objective.weight == 0.25


def test_safeclip_has_the_published_values():
    assert planned("safeclip") == SafeCLIP(
        seed=0, warmup_epochs=5, slow_epochs=1, slow_learning_rate=5e-6, threshold=0.9, growth=0.01,
        cap=0.85, first_cap=0.85, rule="monotone",
    )  # fmt: skip


def test_safeclip_warms_up_starts_slowly_and_then_trains_both_pools():
    defense = planned("safeclip", warmup_epochs=2, slow_learning_rate=0.5)
    for epoch in range(2):
        assert kinds(defense, epoch) == [("unimodal", True, 2000)]
    (slow,) = defense.stages(2)
    assert (slow.objective.name, slow.learning_rate) == ("clip", 0.5)
    assert len(pairs_of(slow)) == 2000
    assert [defense.before(epoch) for epoch in range(5)] == [
        Before(), Before(), Before(), Before(pools=True), Before(pools=True, reuse=True)
    ]  # fmt: skip
    pools = defense.pools(3, scores(), None)
    assert kinds(defense, 3, pools) == [("unimodal", True, 400), ("clip", True, 1600)]
    risky, safe = defense.stages(3)
    both = np.concatenate([pairs_of(risky, pools), pairs_of(safe, pools)])
    np.testing.assert_array_equal(np.sort(both), np.arange(2000))


def test_safeclips_safe_pool_grows_to_its_cap():
    defense = planned("safeclip", growth=0.02, cap=0.9, first_cap=0.85)
    pools, sizes = None, []
    for epoch in range(6, 13):
        pools = defense.pools(epoch, scores(1600, epoch), pools)
        sizes.append(len(pools.safe))
        assert pools.scores[pools.safe].min() >= pools.scores[pools.risky].max()
    assert sizes == [1600, 1640, 1680, 1720, 1760, 1800, 1800]
    assert len(defense.pools(6, scores(1900), None).safe) == 1700  # the first cap


def test_a_defences_own_score_comes_before_that_of_all():
    changes = {"score.kind": "relative", "score.batch_size": 64}
    found = {name: run_of(name, **changes) for name in ("none", "safeclip", "safeclip_plus")}
    assert found["none"].pair_score == found["safeclip"].pair_score == SCORES["relative"]
    assert found["none"].score_batch == found["safeclip"].score_batch == 64
    assert found["safeclip_plus"].pair_score == SCORES["typical"]
    assert found["safeclip_plus"].score_batch == SCORES["typical"].batch == 1024


def test_safeclip_plus_rests_the_risky_pool_and_makes_up_for_it():
    plus = planned("safeclip_plus", first_cap=0.5)
    assert kinds(plus, 0) == [("clip", True, 2000)] and not plus.before(0).pools
    pools = plus.pools(2, scores(), None)
    assert len(pools.safe) == 1000
    first, again = (pairs_of(stage, pools) for stage in plus.stages(2))
    np.testing.assert_array_equal(first, pools.safe)
    assert len(again) == 1000 and np.isin(again, pools.safe).all()
    later = split(scores(), seed=0, share=0.9)
    assert kinds(plus, 7, later) == [("clip", True, 1800), ("clip", True, 200)]
    repeated, once_more = (pairs_of(plus.stages(7)[1], later) for _ in range(2))
    np.testing.assert_array_equal(repeated, once_more)
    assert (repeated != pairs_of(plus.stages(8)[1], later)).any()
    other = planned("safeclip_plus"), run_of("safeclip_plus", seed=1).plan
    seeds = [pairs_of(defense.stages(7)[1], later) for defense in other]
    assert (seeds[0] != seeds[1]).any()


STRANGE, UNREADABLE = np.arange(1900, 1910), np.arange(1910, 1915)


def distances():
    found = np.random.default_rng(0).uniform(0.1, 0.2, 2000)
    found[STRANGE], found[UNREADABLE] = 0.5, np.nan
    return found


@pytest.mark.parametrize("pilot", [1, 2])
def test_strange_pictures_are_risky_for_good(pilot):
    plus = planned("safeclip_plus", pilot_epochs=pilot)
    assert [plus.before(e).distances for e in range(5)] == [e == pilot for e in range(5)]
    assert not any(planned("safeclip").before(epoch).distances for epoch in range(20))
    pools = plus.pools(pilot, scores(), None, distances())
    for epoch in range(pilot + 1, 40):
        assert pools.excluded.tolist() == STRANGE.tolist()
        assert not np.isin(STRANGE, pools.safe).any()
        pools = plus.pools(epoch, scores(seed=epoch), pools)
    assert np.isin(np.setdiff1d(np.arange(400, 2000), STRANGE), pools.safe).mean() > 0.98


def test_the_pilot_is_forgotten_but_for_whom_it_excludes():
    plus = planned("safeclip_plus", pilot_epochs=2, pilot_learning_rate=0.5, first_cap=0.5)
    assert [plus.before(epoch) for epoch in range(5)] == [
        Before(), Before(), Before(pools=True, distances=True, restart=True),
        Before(pools=True), Before(pools=True, reuse=True),
    ]  # fmt: skip
    for epoch in range(2):
        (pilot,) = plus.stages(epoch)
        assert (pilot.objective.name, pilot.learning_rate) == ("clip", 0.5)
        assert len(pairs_of(pilot)) == 2000
    piloted = plus.pools(2, scores(seed=1), None, distances())
    best = np.argsort(-scores(seed=1), kind="stable")
    best = np.sort(best[~np.isin(best, STRANGE)][:1700])
    (slow,) = plus.stages(2)
    assert (slow.objective.name, slow.learning_rate) == ("clip", plus.slow_learning_rate)
    np.testing.assert_array_equal(pairs_of(slow, piloted), best)
    first = plus.pools(3, scores(), piloted)
    assert len(first.safe) == 1000 and not np.isin(STRANGE, first.safe).any()
    np.testing.assert_array_equal(first.scores, scores())


@pytest.mark.parametrize(
    "pilot, rising, until", [(1, 0.0, 0), (2, 0.0, 0), (1, 1.5, 3.5), (2, 1.0, 4)]
)
def test_the_rate_can_rise_until_the_pools_have_trained(pilot, rising, until):
    plus = planned("safeclip_plus", pilot_epochs=pilot, rising_epochs=rising)
    assert plus.warmup_epochs_at_least == until
    for name in ("none", "augmentation", "roclip", "safeclip"):
        assert planned(name).warmup_epochs_at_least == 0


def test_pools_that_were_deleted_are_made_as_the_first_ones():
    plus = planned("safeclip_plus")
    again, first = (plus.pools(epoch, scores(), None) for epoch in (9, 2))
    np.testing.assert_array_equal(again.safe, first.safe)


@pytest.mark.parametrize("safe", [1200, 1600, 1900])
def test_the_pool_of_safeclip_plus_stops_at_the_mixtures_share(safe):
    values = {"safe_score": 1.0, "momentum": 0.0, "growth": 0.1, "first_cap": 0.5}
    plus = planned("safeclip_plus", threshold=0.9, **values)
    pools, sizes = None, []
    for epoch in range(2, 12):
        pools = plus.pools(epoch, scores(safe, epoch), pools)
        sizes.append(len(pools.safe))
        assert pools.scores[pools.safe].min() >= pools.scores[pools.risky].max()
    assert sizes[0] == 1000 and sizes[1] == min(1200, sizes[-1])
    assert abs(sizes[-1] - safe) <= 0.01 * 2000


def test_pairs_of_a_high_score_are_safe_although_the_mixture_calls_their_tail_risky():
    odd = (1 - np.random.default_rng(0).exponential(0.1, 2000)).astype(np.float32)
    odd[:6] = -0.5
    sizes = {}
    for safe_score in (2.0, 0.5):
        values = {"threshold": 0.9, "growth": 0.5, "first_cap": 0.5, "momentum": 0.0}
        plus = SafeCLIPPlus(safe_score=safe_score, **values)
        first = plus.pools(2, odd, None)
        second = plus.pools(3, odd, first)
        assert not np.isin(np.arange(6), second.safe).any()
        sizes[safe_score] = len(second.safe)
    assert sizes[0.5] == np.count_nonzero(odd > 0.5) > 1.05 * sizes[2.0]


def test_scores_are_averaged_over_epochs():
    plus = planned("safeclip_plus", momentum=0.75)
    first = plus.pools(2, scores(seed=1), None)
    second = plus.pools(3, scores(seed=2), first)
    expected = 0.75 * scores(seed=1) + 0.25 * scores(seed=2)
    np.testing.assert_allclose(second.scores, expected, rtol=1e-6)


def test_the_pool_shrinks_when_the_mixture_does():
    plus = SafeCLIPPlus(safe_score=2.0, growth=0.1, first_cap=0.9, momentum=0.0)
    wide = plus.pools(2, scores(1700), None)
    assert len(plus.pools(3, scores(1100), wide).safe) < len(wide.safe)


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("roclip", {"roclip.every": 0}, r"roclip\.every=0 is not at least 1"),
        ("safeclip", {"safeclip.first_cap": 2.0}, r"safeclip\.first_cap=2\.0 is not between"),
        ("safeclip", {"safeclip.growth": 0.9}, r"safeclip\.growth=0\.9: exceeds cap=0\.85"),
        ("safeclip", {"safeclip.rule": "papers"}, "did you mean 'paper'"),
        ("safeclip_plus", {"safeclip_plus.outlier_iqr": -1.0}, r"outlier_iqr=-1\.0 is not above 0"),
        ("safeclip_plus", {"safeclip_plus.rising_epochs": -1.0}, r"rising_epochs=-1\.0 is not at"),
        ("safeclip_plus", {"safeclip_plus.pilot_epochs": 0}, r"pilot_epochs=0 is not at least 1"),
        ("safeclip_plus", {"safeclip_plus.score": "cosine"}, "safe_score is no cosine"),
        ("safeclip+", {}, "did you mean 'safeclip"),
    ],
)
def test_bad_plans_are_refused(name, changes, message):
    with pytest.raises(UserError, match=message):
        run_of(name, **changes)


@pytest.mark.parametrize(
    "name, ends",
    [
        ("safeclip", {"warmup_epochs": [0], "slow_epochs": [0], "slow_learning_rate": [0.0],
                      "threshold": [0.0, 1.0], "growth": [0.0, 0.85], "cap": [0.01, 1.0],
                      "first_cap": [0.0, 1.0]}),
        ("safeclip_plus", {"pilot_epochs": [1], "pilot_learning_rate": [1e-9],
                           "pilot_share": [0.0, 1.0], "outlier_iqr": [1e-9], "slow_epochs": [0],
                           "slow_learning_rate": [0.0], "rising_epochs": [0.0],
                           "threshold": [0.0, 1.0], "growth": [0.0, 0.99], "cap": [0.01, 1.0],
                           "first_cap": [0.0, 1.0], "momentum": [0.0, 1.0]}),
        ("roclip", {"every": [1]}),
        ("cleanclip", {"unimodal_weight": [0.0]}),
    ],
)  # fmt: skip
def test_the_ends_of_each_settings_range_are_allowed(name, ends):
    for setting, values in ends.items():
        for value in values:
            assert getattr(planned(name, **{setting: value}), setting) == value


def test_the_values_of_safeclip_plus_roclip_and_cleanclip_are_these():
    assert planned("safeclip_plus") == SafeCLIPPlus(
        seed=0, score="typical", pilot_epochs=1, pilot_learning_rate=2.5e-5, pilot_share=0.85,
        outlier_iqr=1.5, slow_epochs=1, slow_learning_rate=5e-6, rising_epochs=1.0, threshold=0.5,
        safe_score=0.75, growth=0.01, cap=0.99, first_cap=0.85, momentum=0.5,
    )  # fmt: skip
    assert (planned("roclip").every, planned("cleanclip").unimodal_weight) == (2, 1.0)


@pytest.mark.parametrize(
    "starts_from, poisons, message", [("", False, "set init_from"), ("x", True, "trusted pairs")]
)
def test_cleanclip_needs_a_run_and_clean_pairs(starts_from, poisons, message):
    with pytest.raises(UserError, match=message):
        DEFENSES["cleanclip"].check(starts_from, poisons)
    DEFENSES["cleanclip"].check("x", False)


def test_the_clipscore_filter_keeps_what_its_model_scores_highest():
    own = planned("clipscore", keep=0.25, own_epochs=2)
    assert own.score == "cosine" and own.scored_by == ""
    for epoch in range(2):
        assert kinds(own, epoch) == [("clip", False, 2000)] and own.before(epoch) == Before()
    assert own.before(2) == Before(pools=True, restart=True) and own.before(3) == Before()
    pools = own.pools(2, scores(), None)
    np.testing.assert_array_equal(pools.safe, np.sort(np.argsort(-scores())[:500]))
    assert kinds(own, 2, pools) == kinds(own, 9, pools) == [("clip", False, 500)]
    with pytest.raises(UserError, match=r"keep=0\.0001 of 2000 pairs keeps none"):
        planned("clipscore", keep=1e-4).pools(1, scores(), None)
    given = planned("clipscore", model="runs/a")
    assert given.scored_by == "runs/a" and given.keep == 0.3
    assert given.before(0) == Before(pools=True) and given.before(1) == Before()
