"""Files of tensors: safetensors, and PyTorch's own where it is installed."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from safeclip_jax.errors import UserError, first_line
from safeclip_jax.system import json_text
from safeclip_jax.weights.links import Tensors

PYTORCH = (".pt", ".pth", ".bin")
INDEX = ".index.json"  # behind the name of a file that is kept in parts
# What a training loop keeps beside the model: the model itself is under one of these.
_WRAPPERS = ("model_state_dict", "state_dict", "model")
# Parts of names that DataParallel, torch.compile, FSDP and checkpointing put in.
_OF_WRAPPERS = frozenset(
    ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
)


def find(folder: Path, names: Iterable[str]) -> Path:
    """The first of these files that is there, whole or as the index of its parts.

    Raises:
      UserError: if none is.
    """
    names = list(names)
    for name in names:
        for path in (folder / name, folder / (name + INDEX)):
            if path.exists():
                return path
    raise UserError(f"{folder} holds no weights: it has no {' or '.join(names)}")


def read(path: Path) -> Tensors:
    """Reads all tensors of a file or of an index's parts, in the type that they are stored in.

    A PyTorch file is read with `weights_only`, which runs no code of the file. Names lose what
    wrappers of modules put into them.

    Raises:
      UserError: if it is missing, cut off, or no file of tensors.
    """
    files = _parts(path) if path.name.endswith(INDEX) else [path]
    found: Tensors = {}
    for file in files:
        for name, tensor in _read_file(file).items():
            name = ".".join(part for part in name.split(".") if part not in _OF_WRAPPERS)
            if name in found:
                raise UserError(f"{file} holds the tensor {name} a second time")
            found[name] = tensor
    return found


def _parts(index: Path) -> list[Path]:
    """The files that an index names, which are beside it."""
    content = json_text.read_file(index)
    places = content.get("weight_map") if isinstance(content, dict) else None
    names = list(places.values()) if isinstance(places, dict) else []
    if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise UserError(f"{index} is no index of files beside it")
    return [index.with_name(name) for name in sorted(set(names))]


def _read_file(path: Path) -> Tensors:
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in PYTORCH:
        return _read_pytorch(path)
    raise UserError(f"{path} is no .safetensors, {', '.join(PYTORCH)}: export it as safetensors")


def write(path: Path, tensors: Tensors, metadata: dict[str, str]) -> None:
    """Writes tensors as safetensors; `OSError` if the disk does not take them."""
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:
        raise OSError(str(error)) from None


def _read_safetensors(path: Path) -> Tensors:
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} cannot be read ({first_line(error)}): is it whole? Copy it again"
        ) from None


def _read_pytorch(path: Path) -> Tensors:
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{path} needs PyTorch to be read: pip install 'safeclip_jax[torch]', or give "
            "a .safetensors file"
        ) from None
    if zipfile.is_zipfile(path) and any(
        "/code/" in name for name in zipfile.ZipFile(path).namelist()
    ):
        raise UserError(
            f"{path} is a TorchScript program, not a file of tensors: save its state_dict() first"
        )
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} holds more than tensors ({first_line(error)[:80]})") from None
    except Exception as error:
        reason = first_line(error)[:80]
        raise UserError(f"{path} cannot be read ({reason}): is it whole? Copy it again") from None
    found = _state_dict(found)
    if not isinstance(found, dict) or not all(torch.is_tensor(x) for x in found.values()):
        raise UserError(f"{path} holds no state dict")
    return {str(name): np.asarray(tensor.float().numpy()) for name, tensor in found.items()}


def _state_dict(found: Any) -> Any:
    """What is under the wrappers of a training loop's checkpoint."""
    while isinstance(found, dict):
        inner = [found[name] for name in _WRAPPERS if isinstance(found.get(name), dict)]
        if not inner:
            break
        found = inner[0]
    return found
