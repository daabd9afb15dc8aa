"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_ENDING = ".partial"


@contextlib.contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file beside `path` that takes its place once all is written and on the disk.

    If writing fails, `path` stays as it was. Of several who write at once the last one wins.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{_ENDING}")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        if (
            isinstance(error, OSError)
            and error.errno is not None
            and error.filename in (None, str(partial))
        ):
            error.filename = str(path)  # for the message
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def forget_partial(folder: Path) -> None:
    """Deletes what writers that were killed have left in a folder that nobody else writes to."""
    for partial in folder.glob(f".*{_ENDING}"):
        if partial.is_file():
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def writing_text(path: Path) -> Iterator[IO[str]]:
    """The same of a text in UTF-8, whose line ends are written as they are.

    Names of files that are no UTF-8 hold surrogates, which pass.
    """
    with writing(path) as file:
        text = io.TextIOWrapper(file, "utf-8", "surrogatepass", newline="")
        yield text
        text.detach()  # flushes; the file is closed by who opened it


def write_text(path: Path, text: str) -> None:
    """Writes a whole text, in UTF-8."""
    with writing(path) as file:
        file.write(text.encode(errors="surrogatepass"))
