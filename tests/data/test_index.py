"""The index of a source: what it holds, who builds it, when it is built again, and its size."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from types import SimpleNamespace

import cloudpickle
import numpy as np
import pytest

from safeclip_jax.data import mapped, tokenizer
from safeclip_jax.data.decode import Resized
from safeclip_jax.data.pipeline import ImageReader, Loader
from safeclip_jax.data.skipped import SkippedRecords
from safeclip_jax.data.sources import SourceOptions, columns, index, mix, open_source
from safeclip_jax.data.sources.base import ImageSource, Rejected, caption_problem
from safeclip_jax.data.sources.index import IndexCache, Recipe
from safeclip_jax.data.sources.scenes import Scenes
from safeclip_jax.errors import UserError
from tests.data.test_sources import bad_csv, bad_shards
from tests.support import data_files
from tests.support.data_files import write_csv


class Plain:
    """What a builder collects, in lists."""

    def __init__(self, labelled):
        self.labelled, self.rejected = labelled, []
        self.keys, self.captions, self.labels, self.extra = [], [], [], []

    def __len__(self):
        return len(self.keys)

    def add(self, key, caption, label=None, where="", **extra):
        problem = caption_problem(caption)
        if not problem and self.labelled and (label is None or not str(label).strip()):
            problem = "label is missing"
        if problem:
            return self.reject(where or key, problem)
        self.keys.append(key)
        self.captions.append(caption)
        self.labels.append(str(label))
        self.extra.append(extra)

    def reject(self, key, reason):
        self.rejected.append(Rejected(key, reason))


def hostile_coco(folder):
    images = [{"id": i, "file_name": f"{i % 7}.png"} for i in range(9)]
    images.append({"id": 99, "file_name": "../../x.png"})
    texts = ["a dog", "", None, 5, "x" * 20_000, "a\0b", "ä 漢字", "\ud800", " NaN "]
    annotations = [
        {"id": i, "image_id": [i % 12, 99][i % 5 == 0], "caption": texts[i % len(texts)]}
        for i in range(100)
    ]
    path = folder / "captions.json"
    path.write_text(json.dumps({"images": images, "annotations": [*annotations, "words", 7]}))
    return f"coco:{path}", {}


def folder_with_strange_names(folder):
    for name in ("dog", "sports_car", "größe"):
        (folder / "classes" / name / "inner").mkdir(parents=True)
        for file in ("1.png", "2.txt", "inner/ä.jpg"):
            (folder / "classes" / name / file).write_bytes(b"")
    (folder / "classes" / "dog" / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"")
    return f"folder:{folder}/classes", {}


def labelled_csv(folder):
    rows = [(f"{i}.png", f"caption {i}", ["red", "", "blue", "green"][i % 4]) for i in range(50)]
    return f"csv:{write_csv(folder, rows, ('image', 'caption', 'label'))}", {
        "label_column": "label"
    }


HOSTILE = {
    "csv": lambda folder: (f"csv:{bad_csv(folder)[0]}", {}),
    "webdataset": lambda folder: (
        f"webdataset:{bad_shards(folder / 'shards')[0]}",
        {"allow_missing": True},
    ),
    "coco": hostile_coco,
    "folder": folder_with_strange_names,
    "labelled csv": labelled_csv,
}


@pytest.fixture
def recipes(monkeypatch):
    """The recipes of sources that are opened."""
    found, build = [], Recipe.build

    def built(recipe, *args):
        found.append(recipe)
        return build(recipe, *args)

    monkeypatch.setattr(Recipe, "build", built)
    return found


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("kept", [True, False])
def test_columns_are_what_plain_lists_hold(kind, kept, tmp_path, monkeypatch, recipes):
    monkeypatch.setattr(columns, "AT_ONCE", 7)  # parts end everywhere
    monkeypatch.setattr(mapped, "SMALL", 0)
    spec, options = HOSTILE[kind](tmp_path)
    cache = IndexCache(tmp_path / "cache") if kept else None
    for _ in range(2):
        source = open_source(spec, SourceOptions(**options, cache=cache))
    assert len(recipes) == (1 if kept else 2)
    plain = Plain(recipes[0].labelled)
    recipes[0].fill(plain)
    assert list(source.keys) == plain.keys and len(source) == len(plain) > 3
    assert list(source.captions) == plain.captions
    assert [source.keys[i] for i in range(len(source))] == plain.keys
    assert list(source.rejected) == plain.rejected and len(plain.rejected) > 2
    if plain.labelled:
        names = sorted(set(plain.labels))
        assert len(source.class_names) == len(names) == 3
        assert source.labels.tolist() == [names.index(label) for label in plain.labels]
        assert source.labels.dtype == np.int32
    else:
        assert source.labels is None and not source.class_names
    for name in recipes[0].extra:
        values = getattr(source, {"image": "_names", "place": "_place"}[name], None)
        values = source.places() if values is None else values
        assert [tuple(np.ravel(v)) for v in values] == [
            tuple(np.ravel(pair[name])) for pair in plain.extra
        ]


def shards_of(folder, files):
    data_files.write_scenes_shards(folder / "shards", files)
    return f"webdataset:{folder}/shards"


def table_of(folder, files):
    return f"csv:{data_files.write_scenes_csv(folder / 'csv', files)}"


def coco_of(folder, files):
    table_of(folder, files)
    images = [{"id": key, "file_name": f"{key}.jpg"} for key, *_ in files]
    annotations = [
        {"id": i, "image_id": key, "caption": caption}
        for i, (key, _, caption, _) in enumerate(files)
    ]
    path = folder / "csv" / "captions.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return f"coco:{path}"


def folders_of(folder, files):
    for path in (folder / "classes").glob("*/*"):
        path.unlink()
    for key, image, _, label in files:
        (folder / "classes" / label).mkdir(parents=True, exist_ok=True)
        (folder / "classes" / label / f"{key}.jpg").write_bytes(image)
    return f"folder:{folder}/classes"


def parquet_of(folder, files):
    import pyarrow
    import pyarrow.parquet

    table_of(folder, files)
    pairs = {"image": [f"{f[0]}.jpg" for f in files], "caption": [f[2] for f in files]}
    pyarrow.parquet.write_table(pyarrow.table(pairs), folder / "csv" / "pairs.parquet")
    return f"parquet:{folder}/csv/pairs.parquet"


def prepared_of(folder, files):
    from safeclip_jax.data import prepare

    out = folder / f"prepared{len(files)}"
    prepare.run(open_source(table_of(folder, files), SourceOptions()), out, size=0, pairs_a_shard=4)
    (folder / "prepared").unlink(missing_ok=True)
    (folder / "prepared").symlink_to(out)
    return f"arrayrecord:{folder}/prepared"


@pytest.mark.parametrize(
    "write", [shards_of, table_of, parquet_of, coco_of, folders_of, prepared_of]
)
def test_an_index_is_built_once_and_again_when_its_input_changes(write, tmp_path, recipes):
    files = data_files.scene_files(11)
    options = SourceOptions(cache=IndexCache(tmp_path / "cache"))

    def opened(some):
        return open_source(write(tmp_path, some) if some else spec, options)

    spec = write(tmp_path, files)
    recipes.clear()
    first, again = opened(None), opened(None)
    assert len(recipes) == 1 and len(again) == 11
    assert list(again.captions) == list(first.captions) and again.image(7) == first.image(7)
    images = {first.image(i) for i in range(11)}
    assert images == {image for _, image, _, _ in files}
    recipes.clear()
    less = opened(files[:-1])
    assert recipes and len(less) == 10
    assert {less.image(i) for i in range(10)} == {image for _, image, _, _ in files[:-1]}


def recipe(fill, identity="x", stamp=lambda: 1):
    return Recipe("made", identity, stamp, fill, labelled=True, extra={"place": (2,)})


def some(builder):
    for i in range(20):
        builder.add(f"key {i}", f"caption {i}", "ab"[i % 2], place=(i, -i))
    builder.reject("bad", "torn")


def run_hosts(caches, made):
    """Opens an index on several hosts at once; returns what each of them gets."""
    found = [None] * len(caches)

    def opened(number):
        try:
            found[number] = caches[number].columns(made[number])
        except UserError as error:
            found[number] = error

    threads = [threading.Thread(target=opened, args=(n,)) for n in range(len(caches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


def hosts(folder, count, beats):
    """Caches of so many hosts that exchange texts."""
    barrier, texts = threading.Barrier(count), [""] * count

    def exchange(number):
        def exchanged(text):
            texts[number] = text
            barrier.wait()
            return list(texts)

        return exchanged

    return [IndexCache(folder, n == 0, exchange(n), beats[n].append) for n in range(count)]


def test_the_first_host_builds_and_the_others_wait_whatever_their_times(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "_LOOK", 0.05)
    built, beats = [], [[], [], []]

    def slowly(builder):
        time.sleep(0.5)
        built.append(threading.current_thread())
        some(builder)

    stamps = (lambda: 1, lambda: 2, lambda: 3)  # copies of files on each host's own disk
    made = [recipe(slowly, stamp=stamp) for stamp in stamps]
    found = run_hosts(hosts(tmp_path, 3, beats), made)
    assert len(built) == 1 and len(list(tmp_path.iterdir())) == 1
    for columns_ in found:
        assert list(columns_.captions) == [f"caption {i}" for i in range(20)]
        np.testing.assert_array_equal(columns_.extra["place"][7], [7, -7])
    assert beats[1] and beats[2]  # who waits is not taken for lost


def test_hosts_that_see_other_files_are_told_which(tmp_path):
    made = [recipe(some), recipe(some, identity="y")]
    for error in run_hosts(hosts(tmp_path, 2, [[], []]), made):
        assert isinstance(error, UserError) and "sees other files" in str(error)
    assert not list(tmp_path.iterdir())


KILLED = """
    import sys, time
    from pathlib import Path
    from safeclip_jax.data.sources.index import IndexCache, Recipe

    def fill(builder):
        for i in range(20_000):
            builder.add(f"key {i}", f"caption {i}")
        print("half", flush=True)
        time.sleep(60)

    Recipe("made", "x", lambda: 1, fill).columns(IndexCache(Path(sys.argv[1])))
"""


def test_a_killed_build_leaves_nothing_that_looks_whole(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    (left,) = tmp_path.iterdir()
    assert left.suffix == ".partial"
    again = Recipe("made", "x", lambda: 1, some, True, {"place": (2,)})
    assert len(again.columns(IndexCache(tmp_path)).keys) == 20
    (whole,) = tmp_path.iterdir()
    assert left.name.startswith(f".{whole.name}.")


def test_a_build_that_fails_leaves_nothing(tmp_path):
    def fails(builder):
        some(builder)
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        recipe(fails).columns(IndexCache(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["index.json", "captions.ends.npy", "extra.place.npy"])
def test_a_torn_index_is_refused_in_one_line(name, tmp_path):
    recipe(some).columns(IndexCache(tmp_path))
    (folder,) = tmp_path.iterdir()
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(UserError, match="delete it") as refused:
        recipe(some).columns(IndexCache(tmp_path))
    assert "\n" not in str(refused.value)


def many(builder):
    for i in range(100_000):
        builder.add(f"{i:08d}", f"a picture of something that has the number {i}", place=(0, 0, 0))


class Numbered(ImageSource):
    """Pairs whose pictures are their numbers."""

    def __init__(self, made):
        super().__init__(made)
        self.place = made.extra["place"]

    def image(self, index):
        return np.full((16, 16, 3), index % 251, np.uint8)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A hundred thousand pairs whose index takes 10 MB."""
    folder = tmp_path_factory.mktemp("large")
    made = Recipe("made", "x", lambda: 1, many, extra={"place": (3,)})
    found = made.columns(IndexCache(folder))
    assert sum(path.stat().st_size for path in folder.rglob("*")) > 9e6

    return Numbered(found)


def test_a_worker_receives_paths_and_no_content(large, monkeypatch):
    monkeypatch.setattr(mapped, "SMALL", 2**14)
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(large), 60_000, replace=False))
    views = (large, mix.Subset(large, chosen), mix.Concatenation([large, large]))
    words = tokenizer.train(Scenes(50).captions, 300, 16)
    monkeypatch.setattr(Loader, "_iterate", lambda self, make, start, stop: make)
    for source in views:
        source = Resized(source, 16)
        skipped = SkippedRecords(source, 1.0)
        skipped.note({i: "a reason of some length" for i in range(30_000)})
        reader = ImageReader(source, 16, 0)
        loader = Loader(source.captions, reader, words, skipped, 5, 1, workers=2)
        pairs = np.arange(len(source), dtype=np.int32)
        args = (pairs, 8, (3, 1), (True, False))
        for make in (loader.training_batches(*args), loader.scoring_batches(pairs[::-1], 8)):
            sent = cloudpickle.dumps(make)
            assert len(sent) < 60_000
            here, there = make(77)[0], pickle.loads(sent)(77)[0]
            for name in here:
                np.testing.assert_array_equal(here[name], there[name])
                assert type(there[name]) is np.ndarray
        alone = Loader(source.captions, reader, words, skipped, 5, 1)
        without_workers = alone.training_batches(*args)(77)[0]
        np.testing.assert_array_equal(
            without_workers["index"], loader.training_batches(*args)(77)[0]["index"]
        )


def test_shards_are_read_a_few_ahead(monkeypatch):
    """However slow they are taken, results of a few shards wait."""
    from safeclip_jax.data.sources import webdataset

    started = []

    class Pool:
        def __init__(self, *args, **kwargs):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *args):
            pass

        def submit(self, read, shard):
            started.append(shard)
            return SimpleNamespace(result=lambda: shard)

    monkeypatch.setattr(webdataset, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(webdataset.os, "cpu_count", lambda: 4)
    for taken, shard in enumerate(webdataset._over_processes(io.BytesIO, list(range(200)))):
        assert shard == taken and len(started) <= taken + 10
    assert started == list(range(200))
