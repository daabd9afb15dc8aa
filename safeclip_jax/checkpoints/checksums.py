"""SHA-256 of the files of a checkpoint, in the format of `sha256sum`."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from safeclip_jax.system import atomic_file

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write(folder: Path, name: str, path: Path) -> None:
    """Lists the files in a folder's folders with their checksums.

    With names relative to the folder of `path`'s, so `cd RUN && sha256sum -c checksums/*.sha256`
    checks them with no program of ours.

    Args:
      folder: with the files now.
      name: where it will be, relative to the folder of `path`'s.
      path: of the list, in a folder that is made if it is not there.
    """
    lines = [
        f"{_digest(file)}  {name}/{file.relative_to(folder).as_posix()}\n"
        for file in sorted(folder.glob("*/**/*"))
        if file.is_file()
    ]
    path.parent.mkdir(exist_ok=True)
    atomic_file.write_text(path, "".join(lines))


def problem(path: Path) -> str:
    """What is wrong with the files that a list names; empty if nothing is."""
    root = path.parent.parent
    try:
        lines = path.read_text("utf-8").splitlines()
        for line in lines:
            found = _LINE.fullmatch(line)
            if found is None:
                return f"{path.name} is no list of checksums"
            if not (root / found[2]).is_file():
                return f"{found[2]} is missing"
            if _digest(root / found[2]) != found[1]:
                return f"{found[2]} is not what was written"
    except (OSError, ValueError) as error:
        return f"it cannot be read: {error}"
    return "" if lines else f"{path.name} is empty"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
