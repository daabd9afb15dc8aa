"""Checkpoints: bit for bit, verified, and what is done with damaged ones."""

import json
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import safeclip_jax
from safeclip_jax.checkpoints import variables
from safeclip_jax.errors import UserError
from safeclip_jax.training import score_memory
from safeclip_jax.training.checkpoint import SCHEMA, Checkpoints, Position
from safeclip_jax.training.experiment import build


@pytest.fixture(scope="module")
def steps():
    """A state of a small model."""
    c = safeclip_jax.config("demo")
    c.model.preset, c.batch_size, c.unimodal.bank_size = "nano", 64, 128
    c.data.pairs = c.evaluate.pairs = c.score.batch_size = 64
    c.attack.rate = 0.1
    return build(c).initial_state()


def state_of(state, number):
    """The state with other values."""
    return jax.tree.map(lambda x: (x + number).astype(x.dtype), state)


def saved(folder, steps, *positions, keep=2, **changes):
    checkpoints = Checkpoints(folder, keep, **changes)
    for position in positions:
        checkpoints.save(state_of(steps, position.total_steps), position)
    checkpoints.close()


def kept(folder):
    return sorted(int(p.name) for p in (folder / "checkpoints").iterdir())


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_remembered_scores_are_read_where_they_had_no_more_places_than_pairs(steps, tmp_path):
    scores = np.arange(64, dtype=np.float32)
    like = steps.replace(remembered=score_memory.empty(64))
    for name, memory in (
        ("old", jnp.asarray(scores)),
        ("new", like.remembered.at[:64].set(scores)),
    ):
        saved(tmp_path / name, steps.replace(remembered=memory), Position(total_steps=0))
        restored, _ = Checkpoints(tmp_path / name, 2).restore(like)
        assert restored.remembered.shape == like.remembered.shape
        np.testing.assert_array_equal(restored.remembered[:64], scores)
        assert_same(restored.params, steps.params)
    larger = jax.tree.map(lambda x: jnp.concatenate([x, x]) if x.ndim else x, like.params)
    with pytest.raises(UserError, match="no checkpoint"):
        Checkpoints(tmp_path / "new", 2).restore(like.replace(params=larger))


def test_states_and_positions_come_back_bit_for_bit(steps, tmp_path):
    checkpoints = Checkpoints(tmp_path, 2)
    assert checkpoints.restore(state_of(steps, 0)) is None
    position = Position(2, 1, 5, 77, {"train": 1.5}, "ab", 1)
    checkpoints.save(state_of(steps, 77), position)
    checkpoints.close()
    restored, where = Checkpoints(tmp_path, 2).restore(state_of(steps, 0))
    assert where == position
    assert_same(restored, state_of(steps, 77))
    done = subprocess.run(
        ["sha256sum", "-c", "--quiet", "checksums/77.sha256"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0 and not done.stderr


@pytest.mark.parametrize("damage", ["flipped bit", "torn", "missing file", "missing checksum"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(steps, tmp_path, damage):
    saved(tmp_path, steps, Position(1, 0, 0, 10), Position(2, 0, 0, 20))
    files = [p for p in (tmp_path / "checkpoints/20/state").rglob("*") if p.is_file()]
    largest = max(files, key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    if damage == "flipped bit":
        content[len(content) // 2] ^= 1
        largest.write_bytes(content)
    elif damage == "torn":
        largest.write_bytes(content[: len(content) // 2])
    elif damage == "missing file":
        largest.unlink()
    else:  # of an earlier version, and torn
        (tmp_path / "checksums/20.sha256").unlink()
        for file in files:
            file.write_bytes(b"")
    said = []
    checkpoints = Checkpoints(tmp_path, 2, say=said.append)
    state, where = checkpoints.restore(state_of(steps, 0))
    assert where.total_steps == 10
    assert_same(state, state_of(steps, 10))
    assert len(said) == 1 and said[0].startswith("checkpoint 20 ") and "set aside" in said[0]
    assert kept(tmp_path) == [10] and (tmp_path / "damaged/20").is_dir()
    checkpoints.save(state_of(steps, 20), Position(2, 0, 0, 20))
    checkpoints.close()
    assert kept(tmp_path) == [10, 20]
    params = variables.read_variables(tmp_path)["params"]
    assert_same(params, jax.device_get(state_of(steps, 20).params["params"]))


def test_a_model_is_read_from_the_newest_whole_checkpoint(steps, tmp_path):
    saved(tmp_path, steps, Position(1, 0, 0, 10), Position(2, 0, 0, 20))
    file = next(p for p in (tmp_path / "checkpoints/20/state").rglob("*") if p.is_file())
    file.write_bytes(b"x")
    params = variables.read_variables(tmp_path)["params"]
    assert_same(params, jax.device_get(state_of(steps, 10).params["params"]))
    shutil.rmtree(tmp_path / "checkpoints/10")
    with pytest.raises(UserError, match=r"no checkpoint of .* can be read \(20: .*not what was"):
        variables.read_variables(tmp_path)


def test_nothing_that_can_be_read_is_said(steps, tmp_path):
    saved(tmp_path, steps, Position(1, 0, 0, 10))
    (tmp_path / "checksums/10.sha256").unlink()
    for file in (tmp_path / "checkpoints/10/state").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(UserError, match=r"no checkpoint of .* can be used.*another folder"):
        Checkpoints(tmp_path, 2).restore(state_of(steps, 0))


def test_the_newest_and_every_kth_epoch_are_kept(steps, tmp_path):
    positions = [Position(epoch, 0, 0, 10 * epoch) for epoch in range(1, 7)]
    positions.insert(4, Position(4, 1, 3, 45))
    saved(tmp_path, steps, *positions, keep=2, keep_every=2)
    assert kept(tmp_path) == [20, 40, 50, 60]
    assert {p.stem for p in (tmp_path / "checksums").iterdir()} == {"20", "40", "50", "60"}
    saved(tmp_path, steps, Position(7, 0, 0, 70), keep=1)
    assert kept(tmp_path) == [70]


def test_another_schema_is_refused_with_the_version_that_is_read(steps, tmp_path):
    saved(tmp_path, steps, Position(1, 0, 0, 10))
    path = tmp_path / "checkpoints/10/position/metadata"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": SCHEMA + 1}))
    (tmp_path / "checksums/10.sha256").unlink()
    with pytest.raises(UserError, match=f"has schema {SCHEMA + 1}, .* reads {SCHEMA}"):
        Checkpoints(tmp_path, 2).restore(state_of(steps, 0))
    assert kept(tmp_path) == [10]


def test_what_is_not_accepted_is_deleted(steps, tmp_path):
    saved(tmp_path, steps, Position(1, 0, 0, 10), Position(2, 0, 0, 20))
    checkpoints = Checkpoints(tmp_path, 2)
    skipped = int(state_of(steps, 10).skipped)
    _, where = checkpoints.restore(state_of(steps, 0), lambda state: state.skipped == skipped)
    assert where.total_steps == 10 and kept(tmp_path) == [10]
    assert checkpoints.restore(state_of(steps, 0), lambda state: False) is None


def test_a_lost_host_is_not_taken_for_a_disk_that_cannot_be_written(steps, tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, 2)

    def fail(error):
        def save(*args, **kwargs):
            raise error

        monkeypatch.setattr(checkpoints._manager, "save", save)
        checkpoints.save(steps, Position(1, 0, 0, 10))

    with pytest.raises(jax.errors.JaxRuntimeError, match="Connection reset"):
        fail(jax.errors.JaxRuntimeError("UNKNOWN: Gloo AllGather failed: Connection reset by peer"))
    with pytest.raises(UserError, match=r"cannot be written .*No space left"):
        fail(ValueError("Error writing file: No space left on device"))


def test_a_deletion_that_was_cut_short_leaves_nothing(steps, tmp_path):
    saved(tmp_path, steps, Position(1, 0, 0, 10))
    (tmp_path / "checkpoints/deleted-5/state").mkdir(parents=True)
    (tmp_path / "checkpoints/15.orbax-checkpoint-tmp").mkdir()
    Checkpoints(tmp_path, 2).close()
    assert kept(tmp_path) == [10]
