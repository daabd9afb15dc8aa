"""Arrays in files: what is pickled of them, how they grow, and when they are gone."""

import os
import pickle

import numpy as np
import pytest

from safeclip_jax.data import mapped


def test_parts_and_copies_of_mapped_arrays_are_pickled_whole(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(5000))
    array = mapped.open_array(tmp_path / "a.npy")
    assert len(pickle.dumps(array)) < 300
    for made in (array, array[10:4000], array[::2], array[array > 7], array + 1, array.copy()):
        again = pickle.loads(pickle.dumps(made))
        np.testing.assert_array_equal(again, made)
    with pytest.raises(ValueError):
        array[0] = 1


def test_a_file_without_a_name_is_gone_with_its_array():
    rows = np.arange(2_000_000, dtype=np.int32).reshape(-1, 2)
    array = mapped.shared(rows)
    np.testing.assert_array_equal(array, rows)
    assert mapped.shared(array) is array
    path = array.path
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(array)), rows)
    assert os.path.exists(path)
    del array
    assert not os.path.exists(path)


def test_rows_are_appended_to_a_file_that_numpy_reads(tmp_path):
    writer = mapped.ArrayWriter(np.int64, (3,), tmp_path / "rows.npy")
    expected = np.random.default_rng(0).integers(-9, 9, (1000, 3))
    for part in np.split(expected, [0, 1, 1, 500]):
        writer.extend(part.tolist())
    np.testing.assert_array_equal(writer.close(), expected)
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), expected)
    empty = mapped.ArrayWriter(np.uint8, (), tmp_path / "none.npy").close()
    assert empty.shape == (0,) and empty.dtype == np.uint8
