"""What a benchmark found, in a JSON file that is whole after every row."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safeclip_jax.system import atomic_file

FOLDER = Path(__file__).parent.parent / "results"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "grain", "numpy", "torch", "transformers")


class ResultFile:
    """`{"command", "commit", "date", "device", "versions", "rows"}`.

    Args:
      path: of the file; its folder is made.
    """

    def __init__(self, path: Path):
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self._header = header()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write()

    def add(self, row: Mapping[str, Any]) -> None:
        """Prints a row and writes the file anew; a row's `device` goes to the header."""
        row = dict(row)
        self._header["device"] = row.pop("device", None) or self._header["device"]
        self.rows.append(row)
        print(json.dumps(row), flush=True)
        self._write()

    def _write(self) -> None:
        atomic_file.write_text(
            self.path, json.dumps(self._header | {"rows": self.rows}, indent=1) + "\n"
        )


def header() -> dict[str, Any]:
    """What was run, when, and with what; the device is for the rows to say."""
    main = sys.modules["__main__"].__spec__
    program = ["-m", main.name] if main else sys.argv[:1]
    return {
        "command": shlex.join(["python", *program, *sys.argv[1:]]),
        "commit": os.environ.get("COMMIT") or _commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": None,
        "versions": {"python": platform.python_version()} | _versions(),
    }


def _commit() -> str:
    """The checkout's commit, with a + where files differ from it; empty outside a checkout."""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent)
    except OSError:
        return ""
    return found.stdout.strip()


def host() -> str:
    """Processor, cores and memory of this machine, for figures that no device made."""
    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{processor}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB"


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
