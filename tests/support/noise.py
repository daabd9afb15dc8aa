"""Parameters of noise: what `init` returns in shape, without compiling it."""

import jax
import numpy as np


def like(shapes, seed=0):
    """Arrays of these shapes: scales about 1, variances 1, all else about 0."""
    rng = np.random.default_rng(seed)

    def array(path, x):
        if not np.issubdtype(x.dtype, np.floating):
            return np.zeros(x.shape, x.dtype)
        name = str(getattr(path[-1], "key", path[-1]))
        if name == "var":
            return np.ones(x.shape, x.dtype)
        return (0.2 * rng.standard_normal(x.shape) + name.endswith("scale")).astype(x.dtype)

    return jax.tree.map_with_path(array, shapes)


def variables(model, images, tokens):
    """Of a model that takes such inputs."""
    return like(jax.eval_shape(model.init, jax.random.key(0), images, tokens))
