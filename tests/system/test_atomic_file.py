import pytest

from safeclip_jax.system import atomic_file


def test_a_file_is_replaced_only_when_all_is_written(tmp_path):
    path = tmp_path / "figures.json"
    atomic_file.write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_file.writing(path) as file:
        file.write(b"half")
        assert path.read_text() == "old"
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    atomic_file.write_text(path, "new: é")
    assert path.read_text("utf-8") == "new: é" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "pools.npz"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="No space left"), atomic_file.writing(path) as file:
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")
        file.write(b"never")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
