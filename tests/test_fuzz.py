"""Every file of our own that the program reads back, damaged: read, or refused in one line."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import safeclip_jax
from safeclip_jax.attacks import backdoor, manifest, optimized_patch
from safeclip_jax.attacks.export import png
from safeclip_jax.attacks.triggers import OptimizedPatch
from safeclip_jax.checkpoints import checksums
from safeclip_jax.data import prompts, tokenizer
from safeclip_jax.data.skipped import SkippedRecords
from safeclip_jax.data.sources import index
from safeclip_jax.data.sources.coco import Coco
from safeclip_jax.data.sources.columns import ColumnsBuilder
from safeclip_jax.data.sources.columns_file import load_columns, save_columns
from safeclip_jax.data.sources.scenes import Scenes
from safeclip_jax.data.sources.table import Table
from safeclip_jax.defenses import pool_files, pools
from safeclip_jax.errors import BadRecord, UserError
from safeclip_jax.evaluation import features
from safeclip_jax.runs import run_folder
from safeclip_jax.runs import settings as run_settings
from safeclip_jax.system import atomic_file
from safeclip_jax.training import metrics as run_metrics
from safeclip_jax.training import results
from safeclip_jax.weights import pretrained
from safeclip_jax.weights.write import write
from tests.weights.test_weights import random_model

FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@dataclass
class Case:
    """A good file, what reads it, and whether it is JSON."""

    path: Path
    read: object
    is_json: bool = False


def read_skipped(path):
    skipped = SkippedRecords(Scenes(10), 0.9)
    skipped.list_in(path)


def read_pairs(kind):
    def read(path):
        source = kind(str(path))
        for i in range(len(source)):
            try:
                source.image(i)
            except BadRecord as error:
                assert "\n" not in str(error)

    return read


INDEX = ("index/index.json", "index/captions.ends.npy", "index/labels.npy")


def an_index(folder):
    def fill(columns):
        for i in range(4):
            columns.add(f"k{i}", f"a caption {i}", "red", place=i)
        columns.reject("k4", "torn")

    recipe = index.Recipe("made", "x", lambda: 1, fill, labelled=True, extra={"place": ()})
    recipe.columns(index.IndexCache(folder))
    (made,) = folder.iterdir()
    return made


class Cases(dict):
    """By name; Hypothesis prints them with each failure.

    Args:
      folder: of their files.
    """

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def add(self, name, read, content=None, is_json=False):
        """Adds a case, with its file if the content is given; returns the file's path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_bytes(
                content if isinstance(content, bytes) else json.dumps(content).encode()
            )
        self[name] = Case(path, read, is_json)
        return path

    def __repr__(self):
        return "cases"


def add_attack(cases):
    planned = backdoor.plan(Scenes(50), target="heart", count=4, triggers=["sig"], seed=0)
    planned.save(cases.add("manifest.json", manifest.load, is_json=True))
    patch = {"badclip": OptimizedPatch(png=png(Scenes(1).image(0)))}
    cases.add("trigger/trigger.png", lambda p: optimized_patch.stored(patch, p.parent))
    optimized_patch.keep(patch, cases.folder / "trigger")


def add_pairs(cases):
    coco = {"images": [{"id": 1, "file_name": "a.png"}],
            "annotations": [{"id": 2, "image_id": 1, "caption": "words"}]}  # fmt: skip
    cases.add("coco.json", read_pairs(Coco), coco, True)
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"image": ["a.png", "b.png"], "caption": ["one", "two"]})
    pyarrow.parquet.write_table(table, cases.add("pairs.parquet", read_pairs(Table)))


def add_weights(cases):
    for layout, files in (
        ("native", ("model.json", "model.safetensors")),
        ("huggingface", ("config.json", "preprocessor_config.json", "model.safetensors")),
        ("open_clip", ("open_clip_config.json", "open_clip_model.safetensors")),
    ):
        write(random_model("vit_nano8", 32, end_last=True), cases.folder / layout, layout)
        for name in files:
            cases.add(f"{layout}/{name}", lambda p: pretrained.read(p.parent),
                is_json=name.endswith("json"))  # fmt: skip


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    made = Cases(tmp_path_factory.mktemp("good"))
    folder, add = made.folder, made.add
    words = {"templates": ["a {}"], "classes": {"a": "b"}, "prompts": {"c": ["d"]}}
    add("words.json", lambda p: prompts.read(str(p)), words, True)
    add_attack(made)
    split = pools.split(np.random.default_rng(0).random(50), seed=0, threshold=0.5)
    pool_files.save(split, add("pools.npz", pool_files.load))
    columns = ColumnsBuilder(labelled=True)
    for i in range(4):
        columns.add(f"k{i}", f"a caption {i}", "red")
    save_columns(add("columns.npz", load_columns), columns.build())
    (folder / "index").symlink_to(an_index(folder / "indices"))
    for name in INDEX:
        add(name, lambda p: index.read(p.parent), is_json=name.endswith("json"))
    atomic_file.write_text(
        add("metrics.jsonl", run_metrics.read),
        '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n',
    )
    add("skipped.jsonl", read_skipped, b'{"index": 3, "key": "a", "reason": "b"}\n' * 2)
    tokenizer.train(["a red circle"] * 4, 300, 16).save(
        add("tokenizer.json", lambda p: tokenizer.load(p, 16), is_json=True)
    )
    run = run_settings.of(safeclip_jax.config("demo"))
    values = run_settings.as_dict(run)
    add("run/config.json", lambda p: run_folder.check_config(p.parent, run), values, True)
    add("other/config.json", lambda p: run_folder.read(p.parent), values, True)
    add("results.json", results.read, {"seconds": 1.0}, True)
    (folder / "run/state/x").mkdir(parents=True)
    (folder / "run/state/x/file").write_bytes(b"content")
    checksums.write(folder / "run/state", "state", folder / "run/checksums/1.sha256")
    add("run/checksums/1.sha256", checksums.problem)
    np.savez(add("features.npz", features._read), vectors=np.ones((2, 3)), usable=np.arange(2))
    add_pairs(made)
    add_weights(made)
    return made


NAMES = (
    *("words.json", "manifest.json", "pools.npz", "columns.npz", "metrics.jsonl", "skipped.jsonl"),
    *(
        "trigger/trigger.png",
        "tokenizer.json",
        "run/config.json",
        "other/config.json",
        "results.json",
        "coco.json",
    ),
    *("run/checksums/1.sha256", "features.npz", "pairs.parquet", *INDEX),
    *("native/model.json", "native/model.safetensors", "huggingface/config.json"),
    *("huggingface/preprocessor_config.json", "huggingface/model.safetensors"),
    *("open_clip/open_clip_config.json", "open_clip/open_clip_model.safetensors"),
)


def check(case, content):
    """Reads a damaged file in the place of the good one."""
    good = case.path.read_bytes()
    try:
        case.path.write_bytes(content)
        case.read(case.path)
    except UserError as error:
        assert str(error) and "\n" not in str(error)
    finally:
        case.path.write_bytes(good)


@pytest.mark.parametrize("name", NAMES)
@FUZZ
@given(data=st.data())
def test_damaged_bytes(cases, name, data):
    content = bytearray(cases[name].path.read_bytes())
    # Headers and ends are where the structure is.
    places = st.one_of(st.integers(0, min(len(content), 400) - 1), st.integers(0, len(content) - 1))
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=8)):
        content[place] = value
    length = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    check(cases[name], bytes(content[:length]))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".json")])
@FUZZ
@given(data=st.data())
def test_json_of_another_form(cases, name, data):
    root = [json.loads(cases[name].path.read_bytes())]
    holder, key = root, 0
    while isinstance(holder[key], dict | list) and holder[key] and data.draw(st.booleans()):
        holder = holder[key]
        keys = sorted(holder) if isinstance(holder, dict) else range(len(holder))
        key = data.draw(st.sampled_from(list(keys)))
    if isinstance(holder, dict) and data.draw(st.booleans()):
        del holder[key]
    else:
        holder[key] = data.draw(ANYTHING)
    check(cases[name], json.dumps(root[0]).encode())


def test_a_tokenizer_at_which_its_library_panics_is_refused(tmp_path):
    model = {"type": "BPE", "vocab": {"a": 0, "": 1}, "merges": [["a", ""]]}
    content = {"version": "1.0", "model": model | {"continuing_subword_prefix": "a"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"tokenizer\.json cannot be read: slice index"):
        tokenizer.load(tmp_path / "tokenizer.json", 16)
