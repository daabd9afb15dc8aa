"""A benchmark's figures in a file, with what they came from: `results/NAME.json`."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from safeclip_jax import whole_file

FOLDER = Path(__file__).parent.parent / "results"


def write(path: Path, command: str, figures: dict[str, Any], packages: tuple[str, ...]) -> None:
    """Writes figures with command, commit, date, machine and versions.

    Args:
      path: of the file.
      command: that made them.
      figures: by name.
      packages: whose versions matter.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    versions = {name: importlib.metadata.version(name) for name in packages}
    content = {
        "command": command,
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": {"python": platform.python_version(), **versions},
        **figures,
    }
    whole_file.write_text(path, json.dumps(content, indent=1) + "\n")


def read(name: str) -> dict:
    return json.loads((FOLDER / name).read_text())


def commit() -> str:
    """The checked out commit, with a plus where files differ from it."""

    def git(*arguments: str) -> str:
        found = subprocess.run(["git", *arguments], capture_output=True, text=True)
        return found.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def machine() -> str:
    cpu = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cpu}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB"
