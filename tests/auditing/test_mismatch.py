"""How many captions do not fit: the estimate against plain statements of its formulas."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from safeclip_jax.auditing import mismatch
from safeclip_jax.auditing.mismatch import Mismatch
from safeclip_jax.evaluation.share import Share


def drawn(strangers=60, count=600, seed=0):
    rng = np.random.default_rng(seed)
    pairs = np.concatenate([rng.normal(3, 1, strangers), rng.normal(-1, 1, count - strangers)])
    return rng.permutation(pairs), rng.normal(3, 1, 400)


def test_half_of_the_strangers_lie_above_the_median_of_the_shuffled():
    pairs, shuffled = drawn()
    found = mismatch.estimate(pairs, shuffled)
    above = int(np.sum(pairs > np.median(shuffled)))
    assert found.above == Share(above, 600)
    assert found.share == 2 * above / 600 and found.count == 2 * above
    low, high = Share(above, 600).interval
    assert found.interval == (round(2 * low * 600), round(2 * high * 600))
    assert found.interval[0] < found.count < found.interval[1]
    np.testing.assert_array_equal(found.shuffled, shuffled)


def test_no_more_than_all_pairs_do_not_belong():
    found = Mismatch(Share(90, 100), np.zeros(100), np.zeros(1))
    assert (found.share, found.count, found.interval) == (1.0, 100, (100, 100))


def test_a_misfit_more_probably_does_not_belong():
    probability = np.array([0.4, 0.5, 0.51, 1.0, np.nan, 0.0])
    found = Mismatch(Share(1, 6), probability, np.zeros(1)).misfits
    assert found.tolist() == [False, False, True, True, False, False]


def test_the_probability_is_the_shares_upper_end_times_the_ratio_of_densities():
    pairs, shuffled = drawn()
    pairs[[5, 80]] = np.nan
    found = mismatch.estimate(pairs, shuffled)
    assert np.isnan(found.probability[[5, 80]]).all() and found.above.of == 598
    values = pairs[~np.isnan(pairs)]
    # Odds of a shuffled one at a score, as if there were as many shuffled ones as pairs.
    both = np.concatenate([values, shuffled])
    model = IsotonicRegression(y_min=0, y_max=1).fit(
        both, np.repeat([0, 1], [598, 400]), sample_weight=np.repeat([400, 598], [598, 400])
    )
    p = model.predict(values)
    ratio = np.divide(p, 1 - p, out=np.full(598, 1e9), where=p < 1)
    expected = np.minimum(2 * found.above.interval[1] * ratio, 1)
    known = found.probability[~np.isnan(pairs)]
    np.testing.assert_allclose(known, expected, rtol=1e-4, atol=1e-7)
    assert known.dtype == np.float32 and known.max() == 1 and known.min() < 0.01
    assert 0.2 < known[(known > 0.01) & (known < 1)].mean() < 0.8


def test_suspicion_is_a_mean_in_units_of_the_shuffled():
    rng = np.random.default_rng(0)
    shuffled = {"one": rng.normal(5, 2, 50), "two": rng.normal(-9, 0.1, 50)}
    scores = {"one": rng.normal(5, 2, 8), "two": rng.normal(-9, 0.1, 8), "other": np.zeros(8)}
    of_pairs, of_shuffled = mismatch.suspicion(scores, shuffled)
    expected, theirs = 0, 0
    for name, values in shuffled.items():
        expected += (scores[name] - np.median(values)) / np.std(values) / 2
        theirs += (values - np.median(values)) / np.std(values) / 2
    np.testing.assert_allclose(of_pairs, expected, rtol=1e-6)
    np.testing.assert_allclose(of_shuffled, theirs, rtol=1e-6)
    assert of_pairs.dtype == np.float32


def test_shuffled_scores_that_are_all_alike_do_not_divide_by_zero():
    of_pairs, of_shuffled = mismatch.suspicion({"a": np.array([1.0, 2.0])}, {"a": np.ones(4)})
    assert of_pairs[0] == 0 and of_pairs[1] == pytest.approx(1e6) and not of_shuffled.any()


def test_where_all_captions_fit_none_is_a_misfit():
    pairs, shuffled = drawn(0)
    found = mismatch.estimate(pairs, shuffled)
    assert found.interval[0] == 0 and found.misfits.sum() <= 2
