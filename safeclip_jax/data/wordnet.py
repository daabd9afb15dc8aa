"""Synonyms from a local copy of WordNet's database files (nltk's data, Debian's wordnet-base)."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from safeclip_jax.errors import UserError
from safeclip_jax.system import host

_FILES = ("data.noun", "data.verb", "data.adj", "data.adv")
_DEBIAN = Path("/usr/share/wordnet")


class Synonyms:
    """The thesaurus: for a word, the other words of its synsets.

    Args:
      folder: with WordNet's `data.noun`, `data.verb`, `data.adj` and `data.adv`.

    Attributes:
      folder: where the words are from.

    Raises:
      UserError: if they are not there or not of this format.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        found: dict[str, set[str]] = defaultdict(set)
        try:
            for name in _FILES:
                with (folder / name).open(encoding="utf-8") as lines:
                    for line in lines:
                        words = _synset(line)
                        for word in words:
                            found[word.lower()].update(words)
        except (OSError, ValueError, IndexError) as error:
            raise UserError(f"data.wordnet={str(folder)!r} is no WordNet: {error}") from None
        self._of = {
            word: tuple(sorted(o for o in others if o.lower() != word))
            for word, others in found.items()
            if len(others) > 1
        }

    def of(self, word: str) -> tuple[str, ...]:
        """Synonyms of a word, sorted; none if it is not known."""
        return self._of.get(word.lower(), ())


def noun(folder: Path, offset: int) -> tuple[list[str], int | None]:
    """The words of a noun's synset and the offset of its hypernym, if it has one.

    Args:
      folder: with WordNet 3.0's `data.noun`.
      offset: of the synset, as in ImageNet's names: n01440764 is at 1440764.

    Raises:
      UserError: if there is no such synset.
    """
    path = folder / _FILES[0]
    try:
        with path.open("rb") as file:
            file.seek(offset)
            line = file.readline().decode()
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not line.startswith(f"{offset:08d} "):
        raise UserError(f"{path} has no synset at {offset}: WordNet 3.0 is needed")
    fields = line.split(" ")
    pointers = fields[5 + 2 * int(fields[3], 16) :]
    above = next((int(pointers[i + 1]) for i, f in enumerate(pointers) if f in ("@", "@i")), None)
    return _synset(line), above


def find(where: str) -> Path | None:
    """The folder of a local copy: `auto` looks in the usual places, empty for none."""
    if where != "auto":
        return Path(where) if where else None
    home = host.home_folder()
    homes = [
        *os.environ.get("NLTK_DATA", "").split(os.pathsep),
        str(home / "nltk_data" if home else ""),
    ]
    homes += ["/usr/share/nltk_data", "/usr/local/share/nltk_data"]
    folders = [Path(home) / "corpora" / "wordnet" for home in homes if home]
    return next((f for f in [*folders, _DEBIAN] if (f / _FILES[0]).is_file()), None)


def _synset(line: str) -> list[str]:
    """Words of one line of a data file: offset, file, type, count in hexadecimal, words."""
    if line.startswith("  "):
        return []  # the licence
    fields = line.split(" ")
    words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
    return [word.split("(")[0].replace("_", " ") for word in words]
