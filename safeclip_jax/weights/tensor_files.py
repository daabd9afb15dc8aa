"""Files of tensors: safetensors, and PyTorch's own where it is installed."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from safeclip_jax.errors import UserError, first_line
from safeclip_jax.weights.links import Tensors

PYTORCH = (".pt", ".pth", ".bin")


def read(path: Path) -> Tensors:
    """Reads all tensors of a file, in the type that they are stored in.

    A PyTorch file is read with `weights_only`, which runs no code of the file.

    Raises:
      UserError: if it is missing, cut off, or no file of tensors.
    """
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
        raise UserError(f"{path} cannot be read: {first_line(error)}") from None


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
    except Exception as error:
        raise UserError(f"{path} holds more than tensors ({first_line(error)[:80]})") from None
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(torch.is_tensor(x) for x in found.values()):
        raise UserError(f"{path} holds no state dict")
    return {
        name.removeprefix("module."): np.asarray(tensor.float().numpy())
        for name, tensor in found.items()
    }
