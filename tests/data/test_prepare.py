"""Prepared shards: what is stored, that they do not depend on threads, and that runs go on."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from safeclip_jax.data import prepare
from safeclip_jax.data.decode import Resized
from safeclip_jax.data.sources import SourceOptions, open_source
from safeclip_jax.errors import UserError
from tests.data.test_sources import bad_csv
from tests.support import data_files


@pytest.fixture
def source(tmp_path):
    files = data_files.scene_files(25, size=64)
    return open_source(
        f"csv:{data_files.write_scenes_csv(tmp_path / 'csv', files)}",
        SourceOptions(label_column="label"),
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_files_do_not_depend_on_threads_and_images_are_reduced(source, tmp_path):
    for name, threads in (("a", 1), ("b", 3)):
        prepare.run(source, tmp_path / name, size=32, pairs_a_shard=10, threads=threads)
    a = contents(tmp_path / "a")
    for name, content in contents(tmp_path / "b").items():
        if name.endswith(".npz"):  # zip files hold the time they were written
            with np.load(tmp_path / "a" / name) as x, np.load(tmp_path / "b" / name) as y:
                for key in x:
                    np.testing.assert_array_equal(x[key], y[key])
        else:
            assert a[name] == content, name
    stored = open_source(f"arrayrecord:{tmp_path}/a", SourceOptions())
    assert list(stored.captions) == list(source.captions)
    assert list(stored.keys) == list(source.keys)
    np.testing.assert_array_equal(stored.labels, source.labels)
    for i in (0, 13, 24):
        image = Image.open(io.BytesIO(source.image(i))).resize((32, 32), Image.Resampling.BICUBIC)
        assert stored.image(i) == data_files.encoded(image, "JPEG", quality=95)


def test_an_interrupted_run_goes_on_after_its_last_whole_shard(source, tmp_path):
    whole = tmp_path / "whole"
    prepare.run(source, whole, size=32, pairs_a_shard=10)

    class Stop(Exception):
        pass

    def stop(pairs):
        if pairs > 10:
            raise Stop

    with pytest.raises(Stop):
        prepare.run(source, tmp_path / "cut", size=32, pairs_a_shard=10, progress=stop)
    with pytest.raises(UserError, match="prepare' finished"):
        open_source(f"arrayrecord:{tmp_path}/cut", SourceOptions())
    first = (tmp_path / "cut" / "pairs-00000.npz").stat().st_mtime_ns
    prepare.run(source, tmp_path / "cut", size=32, pairs_a_shard=10)
    assert (tmp_path / "cut" / "pairs-00000.npz").stat().st_mtime_ns == first
    assert not list((tmp_path / "cut").glob("*.partial"))
    for name in ("pairs-00001.array_record", "dataset.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (whole / name).read_bytes()
    with pytest.raises(UserError, match="other data or other settings"):
        prepare.run(source, tmp_path / "cut", size=48, pairs_a_shard=10)


@pytest.mark.parametrize("shards", [10**12, -1, 0, 2, 1e999, "x", None, [1], {}])
def test_a_number_of_shards_that_lies_is_refused(tmp_path, shards):
    prepare.run(open_source("scenes", SourceOptions(count=4)), tmp_path, size=0)
    described = json.loads((tmp_path / "dataset.json").read_text()) | {"shards": shards}
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    with pytest.raises(UserError, match="has all its shards"):
        open_source(f"arrayrecord:{tmp_path}", SourceOptions())


def test_bad_records_are_left_out_and_summed_up(tmp_path):
    path, expected = bad_csv(tmp_path)
    source = open_source(f"csv:{path}", SourceOptions())
    described = prepare.run(source, tmp_path / "out", size=32, pairs_a_shard=30)
    assert described["skipped"] == len(expected) == sum(described["reasons"].values())
    assert described["pairs"] == 81
    lines = (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()
    assert {json.loads(line)["key"] for line in lines} == set(expected)
    stored = Resized(open_source(f"arrayrecord:{tmp_path}/out", SourceOptions()), 32)
    for i in range(81):
        assert stored.image(i).shape == (32, 32, 3)


def test_command_line(tmp_path):
    def command(*flags):
        return subprocess.run(
            [sys.executable, "-m", "safeclip_jax.prepare", *flags], capture_output=True, text=True
        )

    done = command("--source=scenes", "--count=30", "--size=32", f"--out={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    assert "30 in 1 shard" in done.stdout and f"arrayrecord:{tmp_path}/out" in done.stdout
    for flags, message in (
        (["--source=scenes", "--size=9999"], "--size is not between 0 and 4096"),
        (["--source=cvs:x"], "did you mean 'csv'"),
        (["--source=csv:gone.csv"], "gone.csv is not there"),
    ):
        failed = command(*flags, f"--out={tmp_path}/other")
        assert failed.returncode == 2
        assert message in failed.stderr and failed.stderr.count("\n") == 1
    assert "--pairs-a-shard" in command("--help").stdout
