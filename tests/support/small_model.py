"""A model with the interface of `clip.CLIP` and linear towers: a step of it compiles at once."""

from dataclasses import replace

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from safeclip_jax.models import clip

CONTEXT, VOCABULARY, WIDTH = 3, 6, 4
MOMENTUM = 0.9


class RunningMean(nn.Module):
    """The mean colour: of the batch as it trains, which it notes, and else the noted one."""

    @nn.compact
    def __call__(self, images, train):
        noted = self.variable("batch_stats", "mean", jnp.zeros, (3,))
        mean = images.mean(axis=(0, 1, 2)) if train else noted.value
        if train and not self.is_initializing():
            noted.value = MOMENTUM * noted.value + (1 - MOMENTUM) * mean
        return mean


def small(config):
    """The config of a small model, by that of a whole one."""
    return replace(config, embedding=WIDTH)


CONFIG = small(
    clip.configure("nano", image_size=8, context=CONTEXT, vocab_size=VOCABULARY, end_id=5)
)


class SmallModel(nn.Module):
    """Four pixels less the batch's mean colour, times a matrix; the mean of words' vectors."""

    config: clip.CLIPConfig = CONFIG

    def setup(self):
        normal = nn.initializers.normal(1.0)
        self.kernel = self.param("kernel", normal, (12, WIDTH))
        self.words = self.param("words", normal, (self.config.text.vocab_size, WIDTH))
        self.log_scale = self.param("log_scale", nn.initializers.constant(1.5), ())
        self.color = RunningMean()

    def __call__(self, images, tokens, train=False):
        return self.embed_images(images, train), self.embed_texts(tokens), self.logit_scale()

    def embed_images(self, images, train=False):
        return _unit(_four(images - self.color(images, train)) @ self.kernel)

    def embed_texts(self, tokens):
        return _unit(self.words[tokens].mean(axis=1))

    def logit_scale(self):
        return jnp.exp(self.log_scale)


def _four(images):
    half = images.shape[1] // 2
    return images[:, ::half, ::half].reshape(-1, 12)


def _unit(x):
    return x / jnp.sqrt(jnp.sum(x * x, axis=-1, keepdims=True))


def embedded(params, images, tokens, mean=None):
    """Unit vectors of normalised images and of tokens in float64, and the images' mean colour."""
    images = np.float64(images)
    mean = images.mean(axis=(0, 1, 2)) if mean is None else mean
    image = _four(images - mean) @ params["kernel"]
    text = params["words"][tokens].mean(axis=1)
    vectors = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text)]
    return *vectors, images.mean(axis=(0, 1, 2))
