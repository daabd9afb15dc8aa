"""Files of columns, indices, pools and features whose arrays do not fit together, or are bombs."""

import io
import json
import zipfile

import numpy as np
import pytest

from safeclip_jax.data.sources import index
from safeclip_jax.data.sources.columns import ColumnsBuilder
from safeclip_jax.data.sources.columns_file import load_columns, save_columns
from safeclip_jax.data.strings import PackedStrings
from safeclip_jax.defenses import pool_files
from safeclip_jax.evaluation import features
from safeclip_jax.system import arrays_file
from tests.support.bounded import outcome
from tests.test_fuzz import an_index


@pytest.fixture
def columns(tmp_path):
    builder = ColumnsBuilder(labelled=True)
    for i in range(4):
        builder.add(f"k{i}", f"a caption {i}", "red")
    save_columns(tmp_path / "a.npz", builder.build())
    return tmp_path / "a.npz"


def lying(size):
    """A `.npy` header of so many numbers, and eight bytes."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<i8", "fortran_order": False, "shape": (size,)}
    )
    return buffer.getvalue() + bytes(8)


ENDS = {
    "beyond the bytes": [11, 22, 33, 10**12],
    "before the bytes' end": [11, 22, 33, 40],
    "falling": [11, 33, 22, 44],
    "negative": [-5, 11, 22, 44],
    "largest": [2**63 - 1] * 4,
    "too many": [11, 22, 33, 44, 44],
    "too few": [11, 22, 44],
    "none": [],
    "floats": [11.0, 22.0, 33.0, 44.0],
    "a table": [[11, 22], [33, 44]],
}
LABELS = {
    "without a name": np.array([0, 0, 0, 1], np.int32),
    "negative": np.array([0, 0, 0, -1], np.int32),
    "too many": np.zeros(5, np.int32),
    "too few": np.zeros(3, np.int32),
    "of floats": np.zeros(4),
    "a table": np.zeros((4, 1), np.int32),
    "objects' size": np.array(["a"] * 4),
}
CHANGES = {
    **{f"ends {name}": {"captions.ends": np.array(ends)} for name, ends in ENDS.items()},
    **{f"keys' ends {name}": {"keys.ends": np.array(ends)} for name, ends in ENDS.items()},
    **{f"labels {name}": {"labels": labels} for name, labels in LABELS.items()},
    "bytes of another type": {"captions.data": np.zeros(44, np.int16)},
    "another schema": {"schema": np.array(7)},
    "a schema of texts": {"schema": np.array("x")},
}


@pytest.mark.parametrize("name", CHANGES)
def test_columns_that_do_not_fit_together_are_refused(columns, name):
    with np.load(columns) as data:
        arrays = dict(data) | CHANGES[name]
    np.savez(columns, **arrays)
    assert "cannot be read" in outcome(lambda: load_columns(columns))


@pytest.mark.parametrize("name", ENDS)
def test_an_index_whose_ends_lie_is_refused(tmp_path, name):
    made = an_index(tmp_path)
    np.save(made / "captions.ends.npy", np.array(ENDS[name]))
    assert "cannot be read" in outcome(lambda: index.read(made))


@pytest.mark.parametrize("name", [n for n in LABELS if n != "of floats"])
def test_an_index_whose_labels_lie_is_refused(tmp_path, name):
    made = an_index(tmp_path)
    np.save(made / "labels.npy", LABELS[name])
    assert "cannot be read" in outcome(lambda: index.read(made))


@pytest.mark.parametrize("size", [2, 10**9, 10**15, -1])
@pytest.mark.parametrize("name", ["captions.ends.npy", "labels.npy", "captions.data.npy"])
def test_an_index_whose_header_lies_is_refused(tmp_path, name, size):
    made = an_index(tmp_path)
    (made / name).write_bytes(lying(size))
    assert "cannot be read" in outcome(lambda: index.read(made))


@pytest.mark.parametrize("pairs", [-1, 10**15, 1e300, None, "4", [4], True])
def test_an_index_whose_count_lies_is_refused(tmp_path, pairs):
    made = an_index(tmp_path)
    described = json.loads((made / "index.json").read_text()) | {"pairs": pairs}
    (made / "index.json").write_text(json.dumps(described))
    found = outcome(lambda: index.read(made))
    assert pairs == "4" or "cannot be read" in found


def bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        zeros = bytes(10**7)
        with file.open("captions.data.npy", "w", force_zip64=True) as part:
            part.write(lying(10**7 // 8)[:-8] + zeros)


READERS = {
    "columns": load_columns,
    "pools": pool_files.load,
    "features": lambda path: features._read(path) or "cannot be read",
}
CONTENTS = {
    "a bomb": bomb,
    "nothing": lambda path: path.write_bytes(b""),
    "no zip": lambda path: path.write_bytes(b"PK\3\4" + bytes(100)),
    "an array": lambda path: path.write_bytes(lying(1)),
    "objects": lambda path: np.savez(path, digest=np.array([{}], object)),
    "no array": lambda path: zipfile.ZipFile(path, "w").close(),
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", CONTENTS)
def test_what_is_no_file_of_ours_is_refused(tmp_path, reader, content):
    CONTENTS[content](tmp_path / "a.npz")
    assert "cannot be read" in outcome(lambda: READERS[reader](tmp_path / "a.npz"))


def test_arrays_that_we_wrote_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(5), y=np.array("text"))
    found = arrays_file.read(tmp_path / "a.npz")
    assert found["x"].tolist() == [0, 1, 2, 3, 4] and str(found["y"]) == "text"
    packed = PackedStrings.pack(["a", "", "\udcff", "狗"])
    assert list(PackedStrings.checked(packed.data, packed.ends)) == ["a", "", "\udcff", "狗"]
