"""Records that could not be used: counted, listed with reasons, and limited."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from safeclip_jax.data.sources.base import Rejected, Source
from safeclip_jax.errors import UserError
from safeclip_jax.system import atomic_file, json_text

Exchange = Callable[[str], list[str]]


class TooManySkipped(UserError):
    """More records cannot be used than the setting allows."""


class SkippedRecords:
    """The records of a source that could not be used, the same on every process.

    `note` takes what this process found; `share` makes it known to all of them, lists it
    in the file and checks the limit.

    Args:
      source: of the records; what it rejected counts from the start.
      max_share: of all records; more stop the run.
      exchange: sends a text to all processes and returns everyone's; None for one process,
        which then shares whenever it notes.

    Attributes:
      reasons: by pair index.
    """

    def __init__(self, source: Source, max_share: float, exchange: Exchange | None = None):
        self.reasons: dict[int, str] = {}
        self._source, self._max_share, self._exchange = source, max_share, exchange
        self._fresh: dict[int, str] = {}
        self._path: Path | None = None
        self._check()

    def __len__(self) -> int:
        return len(self.reasons) + len(self._source.rejected)

    def list_in(self, path: Path) -> None:
        """Lists the records in a file of JSON lines from now on, after what it holds."""
        self._path = path
        for line in _read(path):
            if isinstance(line["index"], int) and 0 <= line["index"] < len(self._source):
                self.reasons.setdefault(line["index"], str(line["reason"]))
        rejected = ({"index": None, **asdict(r)} for r in self._source.rejected)
        known = (self._line(i, reason) for i, reason in self.reasons.items())
        with atomic_file.writing_text(path) as file:
            file.writelines(json.dumps(line) + "\n" for line in itertools.chain(rejected, known))

    def note(self, found: Mapping[int, str]) -> None:
        """Takes pairs that could not be used, by index, with their reasons."""
        self._fresh |= {i: reason for i, reason in found.items() if i not in self.reasons}
        if self._exchange is None and self._fresh:
            self.share()

    def share(self) -> None:
        """Makes what was noted known to every process; all must call it together.

        Raises:
          UserError: if more than `max_share` of the records cannot be used.
        """
        found, self._fresh = self._fresh, {}
        if self._exchange is not None:
            texts = self._exchange(json.dumps(sorted(found.items())))
            found = dict(pair for text in texts for pair in json_text.read(text))
        found = {i: sys.intern(r) for i, r in sorted(found.items()) if i not in self.reasons}
        self.reasons |= found
        if self._path is not None and found:
            _append(self._path, [self._line(i, reason) for i, reason in found.items()])
        self._check()

    def _line(self, index: int, reason: str) -> dict:
        return {"index": index, "key": self._source.keys[index], "reason": reason}

    def _check(self) -> None:
        last = None
        if self.reasons:
            index, reason = next(reversed(self.reasons.items()))
            last = Rejected(self._source.keys[index], reason)
        check(self._source, len(self.reasons), self._max_share, last, self._path)


def check(
    source: Source,
    unusable: int,
    most: float,
    last: Rejected | None = None,
    listed: Path | None = None,
    name: str = "data.max_skipped_share",
) -> None:
    """Stops where too many records cannot be used: those that a source rejected, and others.

    Of a part of a source its part of the rejected counts, as if it were drawn from all records.

    Args:
      source: of the records.
      unusable: pairs that have an index and whose image cannot be used.
      most: share of the records that may be lost.
      last: of the pairs that cannot be used.
      listed: the file that lists them.
      name: of the setting that says `most`, as the user knows it.

    Raises:
      TooManySkipped: if more cannot be used.
    """
    whole = source.read - len(source.rejected)
    rejected = round(len(source.rejected) * (len(source) / whole if whole else 1))
    lost, total = rejected + unusable, rejected + len(source)
    if lost <= most * total:
        return
    last = last or (source.rejected[-1] if source.rejected else None)
    why = f" (the last: {last.key}: {last.reason})" if last else ""
    where = f"; all are listed in {listed}" if listed else ""
    raise TooManySkipped(
        f"{lost} of {total} records cannot be used, more than {name}={most} allows{why}: "
        f"mend them, or allow more{where}"
    )


@contextlib.contextmanager
def listed_if_too_many(path: Path, write: Callable[[], object]) -> Iterator[None]:
    """Where too many records cannot be used, has those that were found listed, and says where.

    Args:
      path: of the list; its folder is made.
      write: writes the list.
    """
    try:
        yield
    except TooManySkipped as error:
        path.parent.mkdir(parents=True, exist_ok=True)
        write()
        raise TooManySkipped(f"{error}; all are listed in {path}") from None


def write_rejected(path: Path, rejected: Iterable[Rejected]) -> Counter[str]:
    """Lists records that have no index in a file of JSON lines; returns how many by reason."""
    reasons = Counter[str]()
    with atomic_file.writing_text(path) as file:
        for record in rejected:
            reasons[record.reason] += 1
            file.write(json.dumps(asdict(record)) + "\n")
    return reasons


def _read(path: Path) -> list[dict]:
    """The lines of a list, up to one that a kill has torn or that is none of ours."""
    lines: list[dict] = []
    if path.exists():
        with contextlib.suppress(ValueError, TypeError, KeyError):
            for text in path.read_bytes().splitlines():
                line = json_text.read(text)
                lines.append({name: line[name] for name in ("index", "key", "reason")})
    return lines


def _append(path: Path, lines: list[dict]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
