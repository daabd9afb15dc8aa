"""Tukey's fence against Matplotlib's box plots."""

import numpy as np
import pytest

from safeclip_jax.defenses.outliers import beyond_fence


@pytest.mark.parametrize("fence", [1.5, 3.0])
def test_the_fence_is_matplotlibs(fence):
    from matplotlib.cbook import boxplot_stats

    rng = np.random.default_rng(0)
    values = np.concatenate([rng.exponential(size=500), [np.nan]])
    (expected,) = boxplot_stats(values[:-1], whis=fence)
    found = values[beyond_fence(values, fence)]
    above = expected["fliers"][expected["fliers"] > expected["med"]]
    assert len(above) and sorted(found) == sorted(above)
    assert not len(beyond_fence(np.full(5, np.nan), fence))
    assert not len(beyond_fence(np.ones(5), fence))  # on the fence is not beyond it
