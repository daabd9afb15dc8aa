"""Batches that are copied ahead of the step that takes them."""

import jax
import numpy as np
import pytest

from safeclip_jax.distributed import sharding
from safeclip_jax.training import feed

DEVICES = 8


def batches(count, fails=False):
    for number in range(count):
        yield {"index": np.full(8, number, np.int32)}
    if fails:
        raise OSError("the disk is gone")


def test_all_come_in_order_with_what_was_noted_of_each():
    mesh = sharding.make_mesh()
    placed = feed.ahead(batches(4), mesh, lambda batch: (int(batch["index"][0]) + 10, 1))
    found = [(int(p.arrays["index"][0]), p.largest()) for p in placed]
    assert found == [(0, (10, 1)), (1, (11, 1)), (2, (12, 1)), (3, (13, 1))]


def test_a_batch_is_copied_before_the_one_before_it_is_taken():
    mesh, noted = sharding.make_mesh(1, jax.devices()[:1]), []
    placed = feed.ahead(batches(3), mesh, lambda batch: (noted.append(batch) or 0,))
    next(placed)
    assert len(noted) == 2


def test_what_was_read_before_a_failure_comes_first():
    placed, found = feed.ahead(batches(3, fails=True), sharding.make_mesh(), lambda _: (0,)), []
    with pytest.raises(OSError, match="the disk is gone"):
        found.extend(int(p.arrays["index"][0]) for p in placed)
    assert found == [0, 1, 2]
