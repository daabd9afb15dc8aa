"""The cell that notebooks begin with, and what it installs for which device."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))


def loaded():
    spec = importlib.util.spec_from_file_location("install", NOTEBOOKS / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


install = loaded()


def first_cell(name):
    """The notebook's cell that installs; the same lines in all of them."""
    book = nbformat.read(NOTEBOOKS / name, as_version=4)
    (cell,) = [c for c in book.cells if '"clone"' in c.source]
    return cell.source.partition("\n\nif RUN.startswith")[0]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder on a machine without the program; the commands that were run."""
    ran = []

    def run(command, check):
        ran.append(command)
        if command[0] == "git":
            (Path(command[-1]) / "notebooks").mkdir(parents=True)
            (Path(command[-1]) / "notebooks/install.py").touch()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return ran


def test_all_notebooks_begin_with_the_same_cell():
    assert len({first_cell(name) for name in NAMES}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_repository_says_what_to_set(name, elsewhere):
    with pytest.raises(SystemExit, match="REPOSITORY is empty: set it above"):
        exec(first_cell(name), {"REPOSITORY": ""})
    assert not elsewhere


def test_a_repository_is_cloned_once_and_installed(elsewhere, tmp_path, monkeypatch):
    exec(first_cell(NAMES[0]), {"REPOSITORY": "https://example.org/a"})
    install = [sys.executable, "notebooks/install.py"]
    clone = ["git", "clone", "--depth=1", "https://example.org/a", "safeclip_jax"]
    assert elsewhere == [clone, install]
    clone_here = tmp_path / "safeclip_jax"
    assert Path.cwd() == clone_here and sys.path[0] == str(clone_here)
    (clone_here / "configs").mkdir()
    (clone_here / "configs/demo.py").touch()
    for begun in (tmp_path, clone_here, clone_here / "notebooks"):
        monkeypatch.chdir(begun)
        elsewhere.clear()
        exec(first_cell(NAMES[0]), {"REPOSITORY": ""})
        assert elsewhere == [install] and os.getcwd() == str(clone_here)


@pytest.mark.parametrize("files, nvidia, kind", [
    (["accel0", "null"], 9, "tpu"), (["vfio/0", "vfio/vfio"], 9, "tpu"), (["vfio/vfio"], 9, "cpu"),
    (["null"], 0, "gpu"), (["null"], 9, "cpu"), (["null"], None, "cpu"),
])  # fmt: skip
def test_the_device_is_found_without_jax(files, nvidia, kind, tmp_path, monkeypatch):
    """`nvidia`: the exit status of nvidia-smi, or None where it is not installed."""
    for name in files:
        (tmp_path / "dev" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "dev" / name).touch()
    if nvidia is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\nexit {nvidia}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.device(tmp_path / "dev") == kind


@pytest.mark.parametrize("kind, installed, wanted", [
    ("cpu", {}, "jax>=0.10"),
    ("cpu", {"jax": "0.10.0", "jaxlib": "0.10.0"}, ""),
    ("cpu", {"jax": "0.9.2", "jaxlib": "0.9.2"}, "jax>=0.10"),
    ("tpu", {"jax": "0.10.2", "jaxlib": "0.10.2"}, "jax[tpu]>=0.10"),
    ("tpu", {"jax": "0.11", "libtpu": "0.0.30"}, ""),
    ("tpu", {"jax": "0.7.2", "libtpu": "0.0.21"}, "jax[tpu]>=0.10"),
    ("gpu", {"jax": "0.10.2", "jaxlib": "0.10.2"}, "jax[cuda12]>=0.10"),
    ("gpu", {"jax": "0.10.2", "jax-cuda12-plugin": "0.10.2"}, ""),
    ("gpu", {"jax": "0.10.2.dev3", "jax-cuda13-plugin": "0.10.2"}, ""),
    ("gpu", {"jax": "0.7.2", "jax-cuda13-plugin": "0.7.2"}, "jax[cuda13]>=0.10"),
])  # fmt: skip
def test_a_jax_that_fits_the_device_is_left_alone(kind, installed, wanted):
    assert install.jax_for(kind, installed, "0.10") == wanted


def test_the_least_jax_is_that_of_the_package():
    assert f'"jax>={install.least_jax()}"' in (NOTEBOOKS.parent / "setup.py").read_text()


@pytest.mark.parametrize("kind, installed, pip", [
    ("cpu", ["jax", "jaxlib", "grain", "safeclip_jax"], None),
    ("cpu", ["jax", "jaxlib"], ["-e", str(install.ROOT)]),
    ("tpu", ["jax", "grain", "safeclip_jax"], ["-e", str(install.ROOT), "jax[tpu]>=0.10"]),
])  # fmt: skip
def test_only_what_is_lacking_is_installed(kind, installed, pip, monkeypatch, capsys):
    ran = []
    here = [SimpleNamespace(name=name, version="0.10.2") for name in installed]
    monkeypatch.setattr(install.metadata, "distributions", lambda: here)
    monkeypatch.setattr(install, "device", lambda: kind)
    monkeypatch.setattr(install.subprocess, "run", lambda command, check: ran.append(command))
    install.main()
    begin = [sys.executable, "-m", "pip", "install", "-q"]
    assert ran == ([] if pip is None else [[*begin, *pip]])
    assert f"device: {kind}" in capsys.readouterr().out
