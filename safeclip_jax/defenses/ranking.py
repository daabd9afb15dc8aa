"""The first of many values, and all their ranks, in little more memory than the values take."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_AT_ONCE = 2**20
_HALF, _LOWER = np.uint64(32), np.uint64(2**32 - 1)


def parts(count: int) -> Iterator[slice]:
    """Slices of so many values, some at a time."""
    return (slice(start, min(start + _AT_ONCE, count)) for start in range(0, count, _AT_ONCE))


def places(mask: np.ndarray) -> np.ndarray:
    """Where a mask is true, int32, ascending: `flatnonzero` in half of its memory."""
    found, end = np.empty(np.count_nonzero(mask), np.int32), 0
    for part in parts(len(mask)):
        here = np.flatnonzero(mask[part])
        found[end : end + len(here)] = here
        found[end : end + len(here)] += part.start
        end += len(here)
    return found


def nth(mask: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Where the entries with these numbers, from 0, of all that are true in a mask lie."""
    found, before = np.empty_like(numbers), 0
    for part in parts(len(mask)):
        here = np.flatnonzero(mask[part])
        mine = (numbers >= before) & (numbers < before + len(here))
        found[mine] = part.start + here[numbers[mine] - before]
        before += len(here)
    return found


def highest(values: np.ndarray, count: int, among: np.ndarray | None = None) -> np.ndarray:
    """Marks the highest values, of equal ones those with the smaller index.

    Args:
      values: [N]; none that counts is NaN.
      count: how many, if so many count.
      among: which count, bool [N]; None for all.

    Returns:
      bool [N].
    """
    chosen = np.array(values) if among is None else values[among]
    count = min(count, len(chosen))
    if not count:
        return np.zeros(len(values), bool)
    chosen.partition(len(chosen) - count)
    least = chosen[len(chosen) - count]
    del chosen
    marked, equal = values > least, values == least
    if among is not None:
        marked &= among
        equal &= among
    left = count - np.count_nonzero(marked)
    for part in parts(len(values)):
        here = part.start + np.flatnonzero(equal[part])[:left]
        marked[here] = True
        left -= len(here)
    return marked


def in_order(values: np.ndarray, then: np.ndarray) -> np.ndarray:
    """Each pair's place by its value, equal ones by another, and then the smaller index higher.

    Args:
      values, then: [N]; NaN comes last.
    """
    index = np.arange(len(values))
    order = np.lexsort((-index, np.nan_to_num(then, nan=-np.inf), values))
    found = np.empty(len(values), np.int64)
    found[order] = index
    return found


def first(values: np.ndarray, count: int, among: np.ndarray | None = None) -> np.ndarray:
    """Indices of the highest values, the highest first, as a stable sort has them.

    Args:
      values: [N]; NaN counts as lower than all.
      count: how many, if there are so many.
      among: which count, bool [N]; None for all.
    """
    best = np.zeros(0, np.int64)
    for part in parts(len(values)):
        mine = np.arange(part.start, part.stop)
        mine = np.append(best, mine if among is None else mine[among[part]])
        known = ~np.isnan(values[mine])
        left = max(count - int(np.count_nonzero(known)), 0)
        chosen = highest(values[mine], count, known)
        best = mine[chosen | highest(np.zeros(len(mine)), left, ~known)]
    return best[np.argsort(-values[best], kind="stable")]


def ranks(values: np.ndarray, out: np.ndarray) -> None:
    """The rank of each value, from 1, equal ones with the mean of theirs.

    As `scipy.stats.rankdata`; values and their places are sorted as one array of integers.

    Args:
      values: float32 [N], none of them NaN.
      out: takes the ranks, float32 [N].
    """
    both = _with_places(values)
    both.sort()
    start = 0
    while start < len(both):
        last = both[min(start + _AT_ONCE, len(both)) - 1]
        part = both[start : np.searchsorted(both, last | _LOWER, "right")]  # and all equal to it
        value = part >> _HALF
        begins = np.flatnonzero(np.append(True, value[1:] != value[:-1]))
        ends = np.append(begins[1:], len(part))
        means = start + (begins + ends + 1) / 2
        out[(part & _LOWER).astype(np.int64)] = np.repeat(means, ends - begins)
        start += len(part)


def _with_places(values: np.ndarray) -> np.ndarray:
    """Integers that are ordered as the values, equal ones by their places; uint64 [N]."""
    both = np.empty(len(values), np.uint64)
    for part in parts(len(values)):
        bits = (values[part] + np.float32(0)).view(np.uint32)  # makes one zero of two
        flip = np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
        both[part] = bits ^ flip
        both[part] <<= _HALF
        both[part] |= np.arange(part.start, part.stop, dtype=np.uint64)
    return both
