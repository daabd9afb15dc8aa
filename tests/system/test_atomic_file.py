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


def test_two_writers_of_one_file_leave_the_whole_text_of_the_last(tmp_path):
    path = tmp_path / "figures.json"
    with atomic_file.writing(path) as first:
        first.write(b"a" * 10)
        with atomic_file.writing(path) as second:
            second.write(b"b" * 5)
        assert path.read_bytes() == b"b" * 5
        first.write(b"a" * 10)
    assert path.read_bytes() == b"a" * 20 and list(tmp_path.iterdir()) == [path]


def test_files_whose_names_differ_in_their_endings_do_not_share_a_partial_one(tmp_path):
    with atomic_file.writing(tmp_path / "grid.csv") as table:
        table.write(b"rows")
        atomic_file.write_text(tmp_path / "grid.md", "text")
    assert (tmp_path / "grid.csv").read_bytes() == b"rows"


def test_a_new_file_has_the_usual_permissions(tmp_path):
    atomic_file.write_text(tmp_path / "here", "x")
    (tmp_path / "there").write_text("x")
    assert (tmp_path / "here").stat().st_mode == (tmp_path / "there").stat().st_mode


def test_what_a_kill_has_left_is_forgotten(tmp_path):
    (tmp_path / ".results.json.1234abcd.partial").write_text("half")
    (tmp_path / "index.partial").mkdir()
    atomic_file.write_text(tmp_path / "results.json", "{}")
    atomic_file.forget_partial(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "index.partial"}
