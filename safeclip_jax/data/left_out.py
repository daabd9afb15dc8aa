"""Pairs that an audit flagged, and that are not to train."""

from __future__ import annotations

import csv
from array import array
from pathlib import Path

import numpy as np

from safeclip_jax.data.sources.base import Source
from safeclip_jax.errors import UserError, first_line
from safeclip_jax.system.csv_cells import original


def read(path: str, source: Source) -> np.ndarray:
    """Indices of the pairs that a `scores.csv` flags, int32, ascending; none without a path.

    Args:
      path: of the file, or empty.
      source: the pairs that were audited.

    Raises:
      UserError: if the file cannot be read, or is of other pairs.
    """
    if not path:
        return np.zeros(0, np.int32)
    flagged, number = array("i"), -1
    try:
        with Path(path).open(newline="", encoding="utf-8", errors="surrogatepass") as file:
            for number, row in enumerate(csv.DictReader(file)):
                there = original(row["key"])
                if number >= len(source) or there != source.keys[number]:
                    key = source.keys[number] if number < len(source) else "none"
                    raise UserError(
                        f"data.leave_out={path}: pair {number} is {there!r} there and {key!r} "
                        "here: it is of other pairs"
                    )
                if row["flagged"] == "1":
                    flagged.append(number)
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise UserError(
            f"data.leave_out={path} is no scores.csv of an audit: {first_line(error)}"
        ) from None
    if number + 1 != len(source):
        raise UserError(f"data.leave_out={path} has {number + 1} pairs, the data {len(source)}")
    return np.array(flagged, np.int32)
