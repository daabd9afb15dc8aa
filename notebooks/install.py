"""Installs this program on the notebook's machine, with the JAX that its device needs.

python notebooks/install.py

A JAX that is there and new enough is left as it is: Colab's fits Colab's devices.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# For each device the packages that let JAX use it, each with the extra that brings it.
PARTS = {
    "tpu": {"libtpu": "tpu"},
    "gpu": {"jax-cuda12-plugin": "cuda12", "jax-cuda13-plugin": "cuda13"},
    "cpu": {"jaxlib": ""},
}


def device(places: Path = Path("/dev")) -> str:
    """`tpu`, `gpu` or `cpu`, by what the machine has. JAX is not asked: it would hold a TPU."""
    if any(places.glob("accel[0-9]*")) or any(places.glob("vfio/[0-9]*")):
        return "tpu"
    program = shutil.which("nvidia-smi")
    if program and not subprocess.run([program, "-L"], capture_output=True).returncode:
        return "gpu"
    return "cpu"


def jax_for(device: str, installed: Mapping[str, str], wanted: str) -> str:
    """What pip is to install of JAX; empty if what is there will do.

    Args:
      device: `tpu`, `gpu` or `cpu`.
      installed: versions of packages by name.
      wanted: the least version of JAX, as "0.10".
    """
    parts = PARTS[device]
    present = next((name for name in parts if name in installed), None)
    if present and _numbers(installed.get("jax", "0")) >= _numbers(wanted):
        return ""
    extra = parts[present] if present else next(iter(parts.values()))
    return f"jax[{extra}]>={wanted}" if extra else f"jax>={wanted}"


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


def least_jax() -> str:
    """The least version of JAX that `setup.py` asks for."""
    found = re.search(r'"jax>=([\d.]+)"', (ROOT / "setup.py").read_text())
    assert found is not None
    return found[1]


def main() -> None:
    """Installs what is lacking, and says what the notebook will run on."""
    installed = {
        str(found.name).lower().replace("_", "-"): found.version
        for found in metadata.distributions()
    }
    kind = device()
    of_jax = jax_for(kind, installed, least_jax())
    if of_jax or not {"safeclip-jax", "grain"} <= installed.keys():
        packages = ["-e", str(ROOT), *([of_jax] if of_jax else [])]
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", *packages], check=True)
    print(f"device: {kind}; JAX: {of_jax or 'as installed, ' + installed['jax']}")


if __name__ == "__main__":
    main()
