"""Pairs that an audit flagged do not train."""

import csv

import numpy as np
import pytest

from safeclip_jax.data import left_out
from safeclip_jax.data.sources.scenes import Scenes
from safeclip_jax.defenses.defense import without
from safeclip_jax.defenses.none import NoDefense
from safeclip_jax.defenses.pools import split
from safeclip_jax.defenses.safeclip import SafeCLIP
from safeclip_jax.errors import UserError

SCENES = Scenes(50, 0)


def write(path, keys, flagged):
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["key", "flagged"])
        rows.writerows((key, int(i in flagged)) for i, key in enumerate(keys))
    return str(path)


def test_flagged_pairs_are_read_by_their_place(tmp_path):
    path = write(tmp_path / "scores.csv", SCENES.keys, {3, 7})
    np.testing.assert_array_equal(left_out.read(path, SCENES), [3, 7])
    assert not len(left_out.read("", SCENES))


@pytest.mark.parametrize(
    "keys, expected",
    [
        ([*SCENES.keys[:-1], "other"], "of other pairs"),
        ([*SCENES.keys, "more"], "of other pairs"),
        (list(SCENES.keys[:-1]), "has 49 pairs, the data 50"),
    ],
)
def test_a_file_of_other_pairs_is_refused(keys, expected, tmp_path):
    with pytest.raises(UserError, match=expected):
        left_out.read(write(tmp_path / "scores.csv", keys, set()), SCENES)


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("image,caption\n1,2\n")
    for path in (tmp_path / "a.csv", tmp_path / "none.csv", tmp_path):
        with pytest.raises(UserError, match=r"no scores\.csv of an audit"):
            left_out.read(str(path), SCENES)


@pytest.mark.parametrize("defense", [NoDefense(), SafeCLIP(warmup_epochs=1, growth=0.3)])
def test_no_stage_has_them_and_all_others_stay(defense):
    gone = np.array([0, 7, 49])
    scores = np.random.default_rng(0).normal(size=50).astype(np.float32)
    for epoch in range(4):
        pools = None
        if defense.before(epoch).pools:
            pools = defense.pools(epoch, scores, split(scores, seed=0, share=0.3))
        stages = defense.stages(epoch)
        for stage, whole in zip(without(stages, gone), stages, strict=True):
            found, every = (s.part.indices(50, pools) for s in (stage, whole))
            np.testing.assert_array_equal(found, every[~np.isin(every, gone)])
            assert stage.kind == whole.kind
            planned = whole.part.count(50)
            assert stage.part.count(50) == (None if planned is None else planned - len(gone))
        assert without(stages, np.zeros(0, np.int32)) == list(stages)
