"""A trained model to use: images and captions to unit vectors.

import safeclip_jax

model = safeclip_jax.load("runs/demo-safeclip-seed0")
images = model.embed_images(["cat.jpg", "dog.jpg"])                  # [2, D]
texts = model.embed_texts(["a photo of a cat", "a photo of a dog"])  # [2, D]
probabilities = model.probabilities(images, texts)                   # [2, 2]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from safeclip_jax.data import decode
from safeclip_jax.data.tokenizer import Tokenizer
from safeclip_jax.distributed import sharding
from safeclip_jax.errors import BadRecord, UserError
from safeclip_jax.inference.embedder import Embedder
from safeclip_jax.models.clip import CLIP, CLIPConfig
from safeclip_jax.weights.pretrained import Pretrained

Picture = str | Path | bytes | Image.Image | np.ndarray


class Model:
    """A model with its weights, its tokenizer and the way its images are prepared.

    Attributes:
      config: shapes, activation and preprocessing.
      module: the Flax module; `module.apply(variables, images, tokens)`.
      variables: its arrays, on the devices.
      tokenizer: of captions.
      embedder: its compiled forward passes.
    """

    def __init__(self, pretrained: Pretrained):
        self.config: CLIPConfig = pretrained.config
        self.module = CLIP(pretrained.config)
        self.tokenizer: Tokenizer = pretrained.tokenizer
        mesh = sharding.make_mesh()
        self.variables = jax.device_put(pretrained.variables, sharding.replicated(mesh))
        self.embedder = Embedder(self.module, mesh)

    def preprocess(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Decodes, resizes and centre-crops: uint8 [n, S, S, 3], RGB.

        Args:
          pictures: paths, files' bytes, Pillow images or uint8 arrays [H, W, 3].

        Raises:
          UserError: if one cannot be used; it names its number.
        """
        side = self.config.image.image_size
        images = np.empty((len(pictures), side, side, 3), np.uint8)
        for i, picture in enumerate(pictures):
            try:
                images[i] = _prepare(picture, side)
            except (BadRecord, OSError) as error:
                name = picture if isinstance(picture, str | Path) else "it"
                raise UserError(f"image {i}: {name} cannot be used: {error}") from None
        return images

    def tokenize(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids int32 [n, context]."""
        return self.tokenizer.encode(texts)

    def embed_images(self, pictures: Sequence[Picture], batch: int = 64) -> np.ndarray:
        """Unit vectors float32 [n, D]; see `preprocess`. `batch` is rounded to the devices."""
        batch = sharding.nearest_batch(batch, self.embedder.mesh)
        return self.embedder.images(self.variables, self.preprocess(pictures), batch)

    def embed_texts(self, texts: Sequence[str], batch: int = 64) -> np.ndarray:
        """Unit vectors float32 [n, D]."""
        batch = sharding.nearest_batch(batch, self.embedder.mesh)
        return self.embedder.texts(self.variables, self.tokenize(texts), batch)

    @property
    def logit_scale(self) -> float:
        """What similarities are multiplied by before the softmax."""
        return float(self.module.apply(self.variables, method="logit_scale"))  # type: ignore

    def probabilities(self, images: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Softmax over the texts for each image, [n, m], of vectors [n, D] and [m, D]."""
        logits = self.logit_scale * images @ texts.T
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)


def _prepare(picture: Picture, side: int) -> np.ndarray:
    if isinstance(picture, str | Path):
        picture = Path(picture).read_bytes()
    if isinstance(picture, bytes):
        return decode.decode(picture, side)
    return decode.fit(picture, side)
