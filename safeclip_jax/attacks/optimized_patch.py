"""BadCLIP's patch: optimised on a model of the attacker's own, and kept in `trigger.png`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

from safeclip_jax.attacks import export
from safeclip_jax.attacks.surrogate import load
from safeclip_jax.attacks.triggers import TRIGGERS, OptimizedPatch, Trigger
from safeclip_jax.attacks.triggers.optimized import decoded
from safeclip_jax.attacks.victims import mentioned
from safeclip_jax.data.augment_image import pixels
from safeclip_jax.data.sources.base import ImageSource
from safeclip_jax.errors import BadRecord, UserError, failed, first_line
from safeclip_jax.inference.model import Model
from safeclip_jax.objectives.losses import clip_loss
from safeclip_jax.system import atomic_file
from safeclip_jax.system.terminal import Passes

FILE = "trigger.png"
_IMAGES = 1024  # at most so many, to patch and of the target each
_TRIPLET, _MARGIN = 500.0, 1.0
_CLOSE = 1e-6  # added to differences, whose length has no gradient at 0


def _silent(done: int, total: int) -> None: ...


def complete(
    made: Mapping[str, Trigger],
    folders: Sequence[Path],
    surrogate: str,
    source: ImageSource,
    target: str,
) -> dict[str, Trigger]:
    """The triggers with their patch: that which the first of the folders keeps, else a new one.

    Args:
      made: by name.
      folders: of the run, and of the run that it starts from.
      surrogate: path of a run or a model, as for `safeclip_jax.load`.
      source: the clean pairs.
      target: class name.

    Raises:
      UserError: if a patch has to be made and there is no surrogate, or no pair to make it of.
    """
    found = _with_kept(made, next((f for f in folders if (f / FILE).exists()), None))
    for name, trigger in found.items():
        if isinstance(trigger, OptimizedPatch) and not trigger.png:
            if not surrogate:
                raise UserError(f"attack.trigger={name} needs attack.surrogate, a trained model")
            lead = jax.process_index() == 0
            progress = Passes(f"optimises the patch of {name}") if lead else _silent
            patch = optimized(trigger, load(surrogate), source, target, progress)
            found[name] = replace(trigger, png=export.png(patch))
    return found


def stored(made: Mapping[str, Trigger], folder: Path) -> dict[str, Trigger]:
    """The triggers with the patch that a folder keeps; `UserError` if there is none for one."""
    found = _with_kept(made, folder)
    for name, trigger in found.items():
        if isinstance(trigger, OptimizedPatch) and not trigger.png:
            raise UserError(
                f"{folder} keeps no {FILE}, the patch of {name}: name a run that trained with it"
            )
    return found


def keep(made: Mapping[str, Trigger], folder: Path) -> None:
    """Writes the patch of the triggers, if they have one, where the folder has none."""
    for trigger in made.values():
        if isinstance(trigger, OptimizedPatch) and not (folder / FILE).exists():
            with atomic_file.writing(folder / FILE) as file:
                file.write(trigger.png)


def usable(folder: Path) -> list[str]:
    """The names of all triggers that can be used with a folder's patch, or without."""
    kept = (folder / FILE).exists()
    return [name for name, kind in TRIGGERS.items() if kept or kind is not OptimizedPatch]


def _read(folder: Path | None) -> bytes:
    """The patch that a folder keeps; empty without one."""
    if folder is None or not (folder / FILE).exists():
        return b""
    try:
        png = (folder / FILE).read_bytes()
    except OSError as error:
        raise failed(f"{folder / FILE} cannot be read", error) from None
    try:
        decoded(png, 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{folder / FILE} is no PNG that can be read ({first_line(error)}): restore it"
        ) from None
    return png


def _with_kept(made: Mapping[str, Trigger], folder: Path | None) -> dict[str, Trigger]:
    """The triggers with the patch that a folder keeps, if it keeps one."""
    return {
        name: replace(trigger, png=_read(folder))
        if isinstance(trigger, OptimizedPatch)
        else trigger
        for name, trigger in made.items()
    }


def optimized(
    trigger: OptimizedPatch,
    model: Model,
    source: ImageSource,
    target: str,
    progress: Callable[[int, int], None] = _silent,
) -> np.ndarray:
    """The patch that makes images like captions and images of the target, uint8 [s, s, 3].

    With f of images and g of captions, unit vectors, and x + p a patched image x of another
    class, Adam takes steps against

      CLIP loss of f(x + p) and g(t) + 500 · mean max(0, |f(x + p) − f(y)| − |f(x + p) − f(x)| + 1)

    where t are captions and y images of pairs that name the target. As in the authors' code the
    patch starts at N(0.5, 0.25) and stays in [0, 1], and t and y are drawn for each x. There
    images and captions are augmented, too.

    Args:
      trigger: its parameters.
      model: of the attacker.
      source: the clean pairs.
      target: class name.
      progress: called with how many images of how many have been patched so far.

    Raises:
      UserError: if no caption names the target, or all do, or their images cannot be read.

    References:
      Liang et al., "BadCLIP", CVPR 2024, section 4.
    """
    rng = np.random.default_rng([trigger.seed, 0xBADC])
    named = mentioned(source.captions, target)
    others, _ = _some(model, source, rng.permutation(np.flatnonzero(~named)), f"but {target!r}")
    theirs, pairs = _some(model, source, rng.permutation(np.flatnonzero(named)), repr(target))
    texts = model.embed_texts([source.captions[i] for i in pairs])
    side = trigger.side(*others.shape[1:3])
    patch = np.clip(rng.normal(0.5, 0.25, (side, side, 3)), 0, 1).astype(np.float32)
    optimizer = optax.adam(trigger.learning_rate)
    step, state = _step(model, optimizer), optimizer.init(patch)
    unpatched, positives = model.embed_images(list(others)), model.embed_images(list(theirs))
    for number in range(1, trigger.steps + 1):
        x = rng.integers(len(others), size=trigger.batch)
        t, y = rng.integers(len(pairs), size=(2, trigger.batch))
        patch, state = step(
            model.variables, patch, state, others[x], unpatched[x], texts[t], positives[y]
        )
        progress(number * trigger.batch, trigger.steps * trigger.batch)
    return np.rint(255 * np.asarray(patch)).astype(np.uint8)


def _some(
    model: Model, source: ImageSource, pairs: np.ndarray, of: str
) -> tuple[np.ndarray, list[int]]:
    """The first images that can be used, uint8 [n, S, S, 3] of the model's size, and whose."""
    images: list[np.ndarray] = []
    found: list[int] = []
    for pair in pairs.tolist():
        if len(found) == _IMAGES:
            break
        try:
            images.append(source.image(pair))
            found.append(pair)
        except BadRecord:
            continue
    if not found:
        raise UserError(f"attack.trigger=badclip: no caption of an image names a class {of}")
    return model.preprocess(images), found


def _step(model: Model, optimizer: optax.GradientTransformation) -> Callable[..., tuple]:
    """A jitted step: patch and state of Adam, a batch, to the next patch and state."""
    scale = jnp.float32(model.logit_scale)

    def loss(
        patch: jax.Array,
        variables: Any,
        images: jax.Array,
        unpatched: jax.Array,
        texts: jax.Array,
        positives: jax.Array,
    ) -> jax.Array:
        side = len(patch)
        top, left = ((length - side) // 2 for length in images.shape[1:3])
        patched = pixels(images).at[:, top : top + side, left : left + side].set(patch)
        inputs = model.config.normalize(patched)
        found: Any = model.module.apply(variables, inputs, method="embed_images")
        nearer = _distance(found, positives) - _distance(found, unpatched)
        triplet = jnp.mean(jnp.maximum(nearer + _MARGIN, 0))
        return clip_loss(found, texts, scale) + _TRIPLET * triplet

    @jax.jit
    def step(
        variables: Any, patch: jax.Array, state: optax.OptState, *batch: jax.Array
    ) -> tuple[jax.Array, optax.OptState]:
        slope = jax.grad(loss)(patch, variables, *batch)
        update, state = optimizer.update(slope, state)
        return jnp.clip(patch + update, 0, 1), state

    return step


def _distance(one: jax.Array, other: jax.Array) -> jax.Array:
    """Between rows of [B, D]: [B]."""
    return jnp.linalg.norm(one - other + _CLOSE, axis=1)
