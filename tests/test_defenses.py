"""Defences as plans: which stages an epoch has, on which pairs."""

import numpy as np
import pytest

from configs import common
from safeclip_jax import defenses
from safeclip_jax.defenses.defense import Before, Without
from safeclip_jax.defenses.pools import split
from safeclip_jax.defenses.safeclip import SafeCLIP
from safeclip_jax.errors import UserError

PAIRS = np.arange(2000, dtype=np.int32)


def scores(safe=1600, seed=0):
    rng = np.random.default_rng(seed)
    low, high = rng.normal(0.2, 0.05, 2000 - safe), rng.normal(0.6, 0.05, safe)
    return np.float32(np.concatenate([low, high]))


def planned(name, **changes):
    config = common.get_config()
    config.defense = name
    config.update_from_flattened_dict(changes)
    return defenses.create(config)


def kinds(defense, epoch, pools=None):
    return [(s.objective, s.augment, len(s.pairs)) for s in defense.stages(epoch, PAIRS, pools)]


def test_plans_without_pools():
    for epoch in range(5):
        assert kinds(planned("none"), epoch) == [("clip", False, 2000)]
        assert kinds(planned("augmentation"), epoch) == [("clip", True, 2000)]
        tuned = planned("cleanclip", init_from="runs/poisoned")
        assert kinds(tuned, epoch) == [("clip_and_unimodal", False, 2000)]
        matched = "bank_matched" if epoch % 2 else "clip"
        assert kinds(planned("roclip"), epoch) == [(matched, True, 2000)]
        assert planned("roclip").before(epoch) == Before()
    third = [kinds(planned("roclip", **{"roclip.every": 3}), e)[0][0] for e in range(6)]
    assert third == ["clip", "clip", "bank_matched"] * 2


def test_safeclip_has_the_published_values():
    assert planned("safeclip") == SafeCLIP(
        score="cosine", score_batch=1024, scout_epochs=0, scout_learning_rate=2.5e-5,
        scout_share=0.85, warmup_epochs=5,
        slow_epochs=1, slow_learning_rate=5e-6, rise_epochs=0.0, threshold=0.9, growth=0.01,
        cap=0.85, adaptive=False, likely=0.0, first_cap=0.85, rule="monotone", momentum=0.0,
        augment=True, train_risky=True, fence=0.0, fill=False, seed=0,
    )  # fmt: skip


def test_a_defences_own_score_comes_before_that_of_all():
    c = common.get_config()
    c.score.kind = "relative"
    found = {}
    for c.defense in ("none", "roclip", "safeclip", "safeclip_plus"):
        found[c.defense] = defenses.score_kind(c)
    assert list(found.values()) == ["relative", "relative", "relative", "typical"]
    c.defense = "safeclip"
    assert defenses.create(c).score == "relative"
    c.safeclip.score = "typical"
    c.safeclip.score_batch = 64
    assert defenses.create(c).score == defenses.score_kind(c) == "typical"
    assert defenses.create(c).score_batch == defenses.score_batch(c) == 64


def test_safeclip_plus_rests_the_risky_pool_and_makes_up_for_it():
    changes = {"safeclip_plus.scout_epochs": 0, "safeclip_plus.first_cap": 0.5}
    plus = planned("safeclip_plus", **changes)
    assert kinds(plus, 0) == [("clip", True, 2000)] and not plus.before(0).pools
    pools = plus.pools(1, scores(), None)
    assert len(pools.safe) == 1000
    first, again = plus.stages(1, PAIRS, pools)
    np.testing.assert_array_equal(first.pairs, pools.safe)
    assert len(again.pairs) == 1000 and np.isin(again.pairs, pools.safe).all()
    assert len(np.unique(again.pairs)) == len(again.pairs)
    later = split(scores(), seed=0, share=0.9)
    sizes = [len(stage.pairs) for stage in plus.stages(7, PAIRS, later)]
    assert sizes == [1800, 200]
    repeated, once_more = (plus.stages(7, PAIRS, later)[1].pairs for _ in range(2))
    np.testing.assert_array_equal(repeated, once_more)
    assert (repeated != plus.stages(8, PAIRS, later)[1].pairs).any()


STRANGE, UNREADABLE = np.arange(1900, 1910), np.arange(1910, 1915)


def distances():
    found = np.random.default_rng(0).uniform(0.1, 0.2, 2000)
    found[STRANGE], found[UNREADABLE] = 0.5, np.nan
    return found


@pytest.mark.parametrize("scouts", [0, 1, 2])
def test_strange_pictures_are_risky_for_good(scouts):
    plus = planned("safeclip_plus", **{"safeclip_plus.scout_epochs": scouts})
    first = scouts or 1
    assert [plus.before(e).distances for e in range(5)] == [e == first for e in range(5)]
    assert not any(planned("safeclip").before(epoch).distances for epoch in range(20))
    pools = plus.pools(first, scores(), None, distances())
    for epoch in range(first + 1, 40):
        assert pools.barred.tolist() == STRANGE.tolist()
        assert not np.isin(STRANGE, pools.safe).any()
        pools = plus.pools(epoch, scores(seed=epoch), pools)
    assert np.isin(np.setdiff1d(np.arange(400, 2000), STRANGE), pools.safe).mean() > 0.98


def test_scouting_is_forgotten_but_for_the_fence():
    changes = {"scout_epochs": 2, "scout_learning_rate": 0.5, "warmup_epochs": 1}
    changes["first_cap"] = 0.5
    plus = planned("safeclip_plus", **{f"safeclip_plus.{k}": v for k, v in changes.items()})
    assert [plus.before(epoch) for epoch in range(6)] == [
        Before(), Before(), Before(pools=True, distances=True, anew=True), Before(),
        Before(pools=True), Before(pools=True, reuse=True),
    ]  # fmt: skip
    for epoch in range(2):
        (scouting,) = plus.stages(epoch, PAIRS, None)
        assert (scouting.objective, scouting.learning_rate) == ("clip", 0.5)
        np.testing.assert_array_equal(scouting.pairs, PAIRS)
    scouted = plus.pools(2, scores(seed=1), None, distances())
    best = np.argsort(-scores(seed=1), kind="stable")
    best = np.sort(best[~np.isin(best, STRANGE)][:1700])
    for epoch, objective in ((2, "unimodal"), (3, "clip")):
        (stage,) = plus.stages(epoch, PAIRS, scouted)
        assert stage.objective == objective
        np.testing.assert_array_equal(stage.pairs, best)
    first = plus.pools(4, scores(), scouted)
    assert len(first.safe) == 1000 and not np.isin(STRANGE, first.safe).any()
    np.testing.assert_array_equal(first.scores, scores())


@pytest.mark.parametrize("scouts, rise, until", [(0, 0, 0), (2, 0, 0), (0, 1.5, 3.5), (2, 1, 5)])
def test_the_rate_can_rise_until_the_pools_have_trained(scouts, rise, until):
    changes = {"scout_epochs": scouts, "warmup_epochs": 1, "rise_epochs": float(rise)}
    plus = planned("safeclip_plus", **{f"safeclip_plus.{k}": v for k, v in changes.items()})
    assert Without(plus, np.arange(3)).rising_epochs == plus.rising_epochs == until
    for name in ("none", "augmentation", "roclip", "safeclip"):
        assert planned(name).rising_epochs == 0


def test_pools_that_were_deleted_are_made_as_the_first_ones():
    plus = planned("safeclip_plus")
    again, first = (plus.pools(epoch, scores(), None) for epoch in (9, 2))
    np.testing.assert_array_equal(again.safe, first.safe)


@pytest.mark.parametrize("safe", [1200, 1600, 1900])
def test_an_adaptive_pool_stops_at_the_mixtures_share(safe):
    defense = SafeCLIP(adaptive=True, cap=0.99, growth=0.1, first_cap=0.5)
    pools, sizes = None, []
    for epoch in range(6, 16):
        pools = defense.pools(epoch, scores(safe, epoch), pools)
        sizes.append(len(pools.safe))
        assert (np.diff(np.sort(pools.scores)) >= 0).all()
        assert pools.scores[pools.safe].min() >= pools.scores[pools.risky].max()
    assert sizes[0] == 1000 and sizes[1] == min(1200, sizes[-1])
    assert abs(sizes[-1] - safe) <= 0.01 * 2000


def test_likely_pairs_are_safe_although_the_mixture_calls_their_tail_risky():
    odd = (1 - np.random.default_rng(0).exponential(0.1, 2000)).astype(np.float32)
    odd[:6] = -0.5
    sizes = {}
    for likely in (0.0, 0.5):
        values = {"likely": likely, "cap": 0.99, "growth": 0.5, "first_cap": 0.5}
        defense = SafeCLIP(score="typical", adaptive=True, **values)
        first = defense.pools(6, odd, None)
        second = defense.pools(7, odd, first)
        assert not np.isin(np.arange(6), second.safe).any()
        sizes[likely] = len(second.safe)
    assert sizes[0.5] == np.count_nonzero(odd > 0.5) > 1.05 * sizes[0.0]


def test_the_pool_shrinks_when_the_mixture_does():
    defense = SafeCLIP(adaptive=True, cap=0.99, growth=0.1, first_cap=0.9)
    wide = defense.pools(6, scores(1700), None)
    assert len(defense.pools(7, scores(1100), wide).safe) < len(wide.safe)


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("cleanclip", {}, "set init_from"),
        ("cleanclip", {"init_from": "x", "attack.rate": 0.1}, "trusted pairs"),
        ("roclip", {"roclip.every": 0}, r"roclip\.every=0"),
        ("safeclip", {"safeclip.first_cap": 2.0}, r"safeclip\.first_cap=2\.0"),
        ("safeclip", {"safeclip.fence": -1.0}, r"safeclip\.fence=-1\.0 is negative"),
        ("safeclip", {"safeclip.rise_epochs": -1.0}, r"safeclip\.rise_epochs=-1\.0 is negative"),
        ("safeclip", {"safeclip.scout_epochs": 1}, r"safeclip\.scout_epochs=1 would show a fence"),
        ("safeclip_plus", {"safeclip_plus.score": "cosine"}, r"likely=0\.75 is no cosine"),
        ("safeclip+", {}, "did you mean 'safeclip"),
    ],
)
def test_bad_plans_are_refused(name, changes, message):
    with pytest.raises(UserError, match=message):
        planned(name, **changes)
