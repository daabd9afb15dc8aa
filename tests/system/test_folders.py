"""Folders that one process writes to, and that are there whole or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from safeclip_jax.data import mapped, prepare
from safeclip_jax.data.sources.scenes import Scenes
from safeclip_jax.errors import UserError
from safeclip_jax.system import folders


def test_a_folder_appears_when_all_is_written(tmp_path):
    with folders.writing(tmp_path / "a/out") as partial:
        (partial / "file").write_text("x")
        assert not (tmp_path / "a/out").exists()
    assert (tmp_path / "a/out/file").read_text() == "x"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]


def test_an_empty_folder_is_replaced_and_a_full_one_is_not(tmp_path):
    (tmp_path / "out").mkdir()
    with folders.writing(tmp_path / "out") as partial:
        (partial / "file").write_text("x")
    with pytest.raises(OSError) as error, folders.writing(tmp_path / "out"):
        pass
    assert error.value.filename == str(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_of_two_writers_of_one_folder_the_first_wins(tmp_path):
    with pytest.raises(OSError), folders.writing(tmp_path / "out") as late:  # noqa: SIM117
        with folders.writing(tmp_path / "out") as first:
            (first / "file").write_text("first")
            (late / "file").write_text("late")
    assert (tmp_path / "out/file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_killed_writers_left_is_deleted_and_nothing_else(tmp_path):
    dead = tmp_path / ".out.12345678.partial"
    other = tmp_path / ".other.12345678.partial"
    dead.mkdir()
    other.mkdir()
    with folders.writing(tmp_path / "out"), folders.writing(tmp_path / "out2"):
        assert not dead.exists() and other.exists()
        assert len(list(tmp_path.glob(".out.*"))) == 1  # of the one who is alive


HOLD = """
import sys
from pathlib import Path
from safeclip_jax.system import folders
with folders.alone(Path(sys.argv[1]), "trains in", "--workdir"):
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_a_folder_has_one_writer(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdout.readline() == b"mine\n"
        for write in (
            lambda: folders.alone(tmp_path, "audits into", "--out").__enter__(),
            lambda: prepare.run(Scenes(4), tmp_path, size=0),
        ):
            with pytest.raises(UserError, match=r"another process .*: let it end, or choose"):
                write()
        process.kill()
    with folders.alone(tmp_path, "audits into", "--out"):
        pass


def test_the_room_of_a_mapped_file_is_taken_at_once(tmp_path):
    import numpy as np

    mapped.allocate(tmp_path / "a.npy", np.float32, (1000, 256))
    found = np.load(tmp_path / "a.npy", mmap_mode="r+")
    assert found.shape == (1000, 256) and found.dtype == np.float32 and not found.any()
    taken = os.stat(tmp_path / "a.npy").st_blocks * 512
    assert taken >= found.nbytes
    with pytest.raises(OSError):
        mapped.allocate(tmp_path / "b.npy", np.float32, (2**44, 256))
