"""Whole runs from every kind of source, and from data with every kind of bad record."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from safeclip_jax.data import prepare
from safeclip_jax.data.sources import SourceOptions, open_source
from safeclip_jax.defenses import pool_files
from safeclip_jax.errors import UserError
from safeclip_jax.training import loop
from safeclip_jax.training.checkpoint import Checkpoints
from safeclip_jax.training.experiment import build
from tests.data.test_sources import bad_csv, bad_shards
from tests.support import data_files
from tests.training.test_runs import TIMES


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    root, files = tmp_path_factory.mktemp("data"), data_files.scene_files(64)
    table = data_files.write_scenes_csv(root / "csv", files)
    labelled = SourceOptions(label_column="label")
    prepare.run(open_source(f"csv:{table}", labelled), root / "prepared", size=0)
    annotations, images = [], []
    for i, (key, image, caption, label) in enumerate(files):
        folder = root / "classes" / label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{key}.jpg").write_bytes(image)
        images.append({"id": i, "file_name": f"{key}.jpg"})
        annotations.append({"id": i, "image_id": i, "caption": caption})
    coco = root / "csv" / "captions.json"
    coco.write_text(json.dumps({"images": images, "annotations": annotations}))
    data_files.write_scenes_tfds(root / "tfds", files)
    return {
        "csv": f"csv:{table}",
        "webdataset": f"webdataset:{data_files.write_scenes_shards(root / 'shards', files)}",
        "arrayrecord": f"arrayrecord:{root / 'prepared'}",
        "tfds": "tfds:scene_captions",
        "folder": f"folder:{root / 'classes'}",
        "coco": f"coco:{coco}",
        "data_dir": str(root / "tfds"),
    }


def reading(config, spec, evaluated=""):
    """The test's config with another source, at a size of few steps."""
    config.epochs, config.max_steps = 3, 1
    config.batch_size = config.score.batch_size = 16
    config.unimodal.bank_size = 32
    config.data.source, config.data.pairs = spec, 0
    config.data.tokenizer, config.data.vocab_size = "train", 300
    config.evaluate.source, config.evaluate.split = evaluated, "train"
    config.attack.rate = 0.05
    return config


def outcome(config, folder):
    results = loop.run(config, folder)
    state, _ = Checkpoints(folder, 2).restore(build(config, folder).initial_state())
    return {k: v for k, v in results.items() if not TIMES.search(k)}, jax.device_get(state.params)


@pytest.mark.slow
def test_two_formats_train_to_bit_identical_parameters(config, specs, tmp_path):
    """Of the same batches, which all formats give: see `tests/data/test_sources.py`."""
    found = []
    for kind in ("csv", "webdataset"):
        config = reading(config, specs[kind], specs[kind])
        config.data.label_column, config.defense = "label", "none"
        found.append(outcome(config, tmp_path / kind))
    for results, params in found[1:]:
        assert results == found[0][0]
        jax.tree.map(np.testing.assert_array_equal, params, found[0][1])
    assert found[0][0]["pairs"] == 64 and found[0][0]["zero_shot_accuracy"] is not None


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("tfds", marks=pytest.mark.slow),
        *(pytest.param(kind, marks=pytest.mark.by_hand) for kind in ("folder", "coco")),
    ],
)
def test_main_trains_from_other_sources(config, specs, tmp_path, kind):
    config = reading(config, specs[kind], "" if kind == "coco" else specs[kind])
    config.data.data_dir = specs["data_dir"]
    results, _ = outcome(config, tmp_path)
    assert results["pairs"] == 64 and results["steps"] == 4
    assert (results["zero_shot_accuracy"] is None) == (kind == "coco")


def test_sources_are_mixed_by_weight_and_parts_are_held_out(config, specs, tmp_path):
    config = reading(config, "scenes", specs["csv"])
    config.data.label_column = "label"
    half = {"source": specs["webdataset"], "weight": 0.5}
    config.data.mix = ({"source": specs["csv"], "part": (0.0, 0.75)}, half)
    config.evaluate.part, config.evaluate.prompts = (0.75, 1.0), "captions"
    config.data.seed = 5
    x = build(config)
    assert len(x.source) == 48 + 32 and len(x.held_out.images) == 16
    assert not {*x.source.keys} & {*x.held_out.images.keys}
    captions = [c for texts in x.held_out.prompts for c in texts if "photo of" not in c]
    assert captions and set(captions) <= set(x.source.captions) | set(
        open_source(specs["csv"], SourceOptions()).captions
    )
    config.data.mix = ({"source": specs["csv"], "wieght": 2},)
    with pytest.raises(UserError, match="did you mean 'weight'"):
        build(config)


@pytest.mark.slow
def test_a_run_on_dirty_data_skips_and_lists_what_is_bad(config, tmp_path):
    path, expected = bad_csv(tmp_path)
    shards, bad_in_shards = bad_shards(tmp_path / "shards")
    config = reading(config, "scenes")
    config.data.mix = ({"source": f"csv:{path}"}, {"source": f"webdataset:{shards}"})
    config.data.allow_missing = True
    config.attack.rate, config.data.max_skipped_share, config.max_steps = 0.0, 0.9, 0
    results, _ = outcome(config, tmp_path / "run")
    lines = (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    reasons = {line["key"]: line["reason"] for line in found}
    assert len(found) == results["skipped_records"] >= len(expected) + len(bad_in_shards)
    assert set(expected) <= set(reasons) and all(reasons.values())

    last = pool_files.load(pool_files.path(tmp_path / "run", 2))
    unreadable = [line["index"] for line in found if line["index"] is not None]
    assert np.isnan(last.scores[unreadable]).all() and not np.isin(unreadable, last.safe).any()
    assert np.isfinite(np.delete(last.scores, unreadable)).all()
    again = build(config, tmp_path / "run")
    again.skipped.list_in(tmp_path / "run" / "skipped.jsonl")
    assert len(again.skipped) == len(found)
    config.data.max_skipped_share = 0.2
    with pytest.raises(UserError, match=r"max_skipped_share=0\.2"):
        loop.run(config, tmp_path / "strict")


def test_other_images_are_not_needed_to_be_square(config, tmp_path):
    rows = []
    for i in range(24):
        size = (40 + 5 * i, 90 - 2 * i)
        (tmp_path / f"{i}.png").write_bytes(data_files.encoded(Image.new("RGB", size, "red")))
        rows.append((f"{i}.png", f"a red picture with a heart, number {i}"))
    config = reading(config, f"csv:{data_files.write_csv(tmp_path, rows)}")
    config.attack.rate = 0.0
    batch = next(build(config).loader.scoring_batches(np.arange(24), 8))
    assert batch["image"].shape == (8, 32, 32, 3)
