"""A run does not import PyTorch, where it is installed, for its metrics."""

import importlib
import subprocess
import sys

import pytest

from safeclip_jax.system import imports


def test_a_package_is_not_there_for_what_is_imported_meanwhile(tmp_path, monkeypatch):
    (tmp_path / "a_large_package.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with imports.without("a_large_package"), pytest.raises(ImportError):
        importlib.import_module("a_large_package")
    there = importlib.import_module("a_large_package")
    with imports.without("a_large_package"):
        assert importlib.import_module("a_large_package") is there


def test_the_train_loop_imports_no_pytorch():
    code = "import sys, safeclip_jax.training.loop; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
