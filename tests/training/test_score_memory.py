"""Scores of pairs lie split over the devices and come to the host some at a time."""

import jax
import numpy as np
import pytest

from safeclip_jax.distributed import sharding
from safeclip_jax.training import score_memory

DEVICES = 8


@pytest.mark.parametrize("devices, fsdp", [(1, 1), (2, 1), (8, 4), (8, 1), (5, 1)])
def test_noted_scores_are_read_again_and_no_device_holds_them_all(devices, fsdp, monkeypatch):
    monkeypatch.setattr(score_memory, "MULTIPLE", 48)
    monkeypatch.setattr(score_memory, "_AT_ONCE", 40)
    mesh, pairs = sharding.make_mesh(fsdp, jax.devices()[:devices]), 100
    layout = sharding.of_state({"remembered": score_memory.empty(pairs)}, mesh)["remembered"]
    memory = jax.device_put(score_memory.empty(pairs), layout)
    note = jax.jit(lambda *args: score_memory.note(*args, mesh), out_shardings=layout)
    expected = np.full(pairs, np.nan, np.float32)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        batch = {
            "index": rng.permutation(pairs)[:40].astype(np.int32),
            "scores": rng.normal(size=40).astype(np.float32),
        }
        memory = note(memory, *sharding.to_devices(batch, mesh).values())
        expected[batch["index"]] = batch["scores"]
    np.testing.assert_array_equal(score_memory.read(memory, pairs, mesh), expected)
    share = devices if 144 % devices == 0 else 1
    assert {shard.data.shape for shard in memory.addressable_shards} == {(144 // share,)}
    compiled = note.lower(memory, *sharding.to_devices(batch, mesh).values()).compile().as_text()
    assert share == 1 or "f32[144]" not in compiled


@pytest.mark.parametrize("count", [1, 4, 9])
def test_rows_of_many_arrays_come_in_pieces_and_wait_for_the_devices(count, monkeypatch):
    monkeypatch.setattr(sharding, "_GATHERED", 4)
    mesh, landed = sharding.make_mesh(), []
    block = type(jax.numpy.zeros(1)).block_until_ready
    monkeypatch.setattr(
        type(jax.numpy.zeros(1)), "block_until_ready", lambda x: landed.append(1) or block(x)
    )

    def arrays():
        for number in range(count):
            assert number % 4 - (len(landed) - number // 4 * 2) <= 2
            rows = np.arange(16, dtype=np.float32) + 100 * number
            yield sharding.to_devices({"rows": rows}, mesh)["rows"]

    found = list(sharding.gathered(arrays(), mesh))
    assert [len(rows) for rows in found] == [16 * min(4, count - i) for i in range(0, count, 4)]
    expected = [np.arange(16) + 100 * number for number in range(count)]
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(expected))
