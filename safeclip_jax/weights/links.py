"""Which tensor of another program is which array of ours, and how they are laid out.

A list of links describes both directions, so that a file is read as it was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from safeclip_jax.errors import UserError
from safeclip_jax.models.vit import ViTConfig

Path = tuple[str, ...]
Tensors = dict[str, np.ndarray]

SAME, FLAT, TRANSPOSED, TRANSPOSED_OUT, CONVOLUTION = range(5)
# PyTorch's buffers that hold nothing of the model.
_IGNORED = ("position_ids", "num_batches_tracked", "attn_mask")
_IGNORED_NAMES = ("input_resolution", "context_length", "vocab_size")


@dataclass(frozen=True)
class Link:
    """One array of ours and the tensor that holds it.

    Attributes:
      ours: collection and names of the array.
      theirs: name of the tensor.
      layout: SAME; FLAT: a bias by heads, flattened; TRANSPOSED: a matrix [in, …] as
        [out, in]; TRANSPOSED_OUT: a matrix […, out] as [out, in]; CONVOLUTION: a kernel
        [H, W, in, out] as [out, in, H, W].
      part, parts: the array is this one of so many equal parts of the tensor's first axis.
    """

    ours: Path
    theirs: str
    layout: int = SAME
    part: int = 0
    parts: int = 1


def check_plain(image: ViTConfig, program: str) -> None:
    """Raises `UserError` if other programs' ViTs cannot be like this one."""
    if image.stem or image.pool != "class_token":
        what = "a convolutional stem" if image.stem else f"model.pool={image.pool}"
        raise UserError(
            f"{program} cannot hold an image tower with {what}: use --format=native, or train "
            "e.g. vit_nano8, vit_b32"
        )


def norm(ours: Path, theirs: str) -> list[Link]:
    """A layer norm."""
    return [Link((*ours, "scale"), f"{theirs}.weight"), Link((*ours, "bias"), f"{theirs}.bias")]


def dense(ours: Path, theirs: str) -> list[Link]:
    """A linear layer, of heads or of features, with its bias."""
    return [
        Link((*ours, "kernel"), f"{theirs}.weight", TRANSPOSED),
        Link((*ours, "bias"), f"{theirs}.bias", FLAT),
    ]


def dense_out(ours: Path, theirs: str) -> list[Link]:
    """A linear layer over heads and their features, with its bias."""
    return [
        Link((*ours, "kernel"), f"{theirs}.weight", TRANSPOSED_OUT),
        Link((*ours, "bias"), f"{theirs}.bias"),
    ]


def export(links: Sequence[Link], variables: Any) -> Tensors:
    """Our arrays as the other program's tensors, float32."""
    parts: dict[str, dict[int, np.ndarray]] = {}
    for link in links:
        array = variables
        for name in link.ours:
            array = array[name]
        tensor = _forward(np.asarray(array, np.float32), link.layout)
        parts.setdefault(link.theirs, {})[link.part] = tensor
    return {
        name: np.asarray(
            found[0] if len(found) == 1 else np.concatenate([found[i] for i in sorted(found)]),
            order="C",
        )
        for name, found in parts.items()
    }


def read(links: Sequence[Link], tensors: Tensors, shapes: Any, where: str) -> Any:
    """The other program's tensors as our arrays, float32; the model's shapes are checked first.

    Args:
      links: of the model.
      tensors: of the file.
      shapes: our collections, of arrays or shapes.
      where: the file, for errors.

    Raises:
      UserError: if a tensor is missing, too many or of another shape.
    """
    wanted = dict(_leaves(shapes))
    if missing := sorted({link.theirs for link in links} - tensors.keys()):
        raise UserError(f"{where} lacks the tensor {missing[0]} ({len(missing)} missing)")
    unknown = sorted(n for n in tensors.keys() - {k.theirs for k in links} if not _ignored(n))
    if unknown:
        raise UserError(f"{where} is of another model: it has the tensor {unknown[0]}")
    for link in links:
        ours, theirs = wanted[link.ours], tensors[link.theirs].shape
        expected = _their_shape(ours, link.layout)
        if link.parts > 1:
            expected = (expected[0] * link.parts, *expected[1:])
        if theirs != expected and (theirs, expected) != ((1,), ()):  # a scale may be [1]
            raise UserError(f"{where}: the tensor {link.theirs} is {theirs}, not {expected}")
    arrays: dict = {}
    for link in links:
        piece = tensors[link.theirs]
        if link.parts > 1:
            piece = np.split(piece, link.parts)[link.part]
        place = arrays
        for name in link.ours[:-1]:
            place = place.setdefault(name, {})
        place[link.ours[-1]] = _backward(piece, wanted[link.ours], link.layout)
    return arrays


def _leaves(tree: Any) -> list[tuple[Path, tuple[int, ...]]]:
    return [
        (tuple(entry.key for entry in path), tuple(leaf.shape))
        for path, leaf in jax.tree.leaves_with_path(tree)
    ]


def _ignored(name: str) -> bool:
    return name.endswith(_IGNORED) or name in _IGNORED_NAMES


def _forward(array: np.ndarray, layout: int) -> np.ndarray:
    if layout == FLAT:
        return array.reshape(-1)
    if layout == TRANSPOSED:
        return array.reshape(len(array), -1).T
    if layout == TRANSPOSED_OUT:
        return array.reshape(-1, array.shape[-1]).T
    return array.transpose(3, 2, 0, 1) if layout == CONVOLUTION else array


def _backward(tensor: np.ndarray, shape: tuple[int, ...], layout: int) -> np.ndarray:
    tensor = np.asarray(tensor, np.float32)
    if layout in (TRANSPOSED, TRANSPOSED_OUT):
        tensor = tensor.T
    elif layout == CONVOLUTION:
        tensor = tensor.transpose(2, 3, 1, 0)
    return np.asarray(tensor.reshape(shape), order="C")


def _their_shape(shape: tuple[int, ...], layout: int) -> tuple[int, ...]:
    if layout == FLAT:
        return (int(np.prod(shape)),)
    if layout == TRANSPOSED:
        return int(np.prod(shape[1:])), shape[0]
    if layout == TRANSPOSED_OUT:
        return shape[-1], int(np.prod(shape[:-1]))
    return (shape[3], shape[2], *shape[:2]) if layout == CONVOLUTION else shape
