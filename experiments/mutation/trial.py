"""Tests of a mutant, in a child of this process that has the libraries imported already."""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
PYTEST = ["-x", "-q", "-n", "0", "-o", "addopts=", "-m", "not slow", "-p", "no:cacheprovider",
          "--no-header", "--hypothesis-profile=mutants"]  # fmt: skip


class _Mutated(importlib.abc.MetaPathFinder):
    """Finds one module as everybody does, and gives it another code."""

    def __init__(self, module: str, tree: ast.Module):
        self._module, self._tree = module, tree

    def find_spec(
        self, fullname: str, path: Any, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        assert spec is not None and spec.origin is not None
        code = compile(self._tree, spec.origin, "exec")
        spec.loader = _Loader(fullname, spec.origin, code)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, fullname: str, path: str, code: CodeType):
        super().__init__(fullname, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        return self._code


class _FirstFailure:
    """A plugin of pytest that keeps the order of the tests, and notes which failed first."""

    test = ""

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Iterator[None]:
        in_order = list(items)
        yield
        kept = set(items)
        items[:] = [item for item in in_order if item in kept]

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.test:
            self.test = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.test:
            self.test = f"{report.nodeid}, as it is imported"


@dataclass
class Trial:
    """A child at work.

    Attributes:
      process: its id.
      folder: of its temporary files.
      started: by `time.monotonic`.
      limit: seconds.
    """

    process: int
    folder: Path
    started: float
    limit: float

    def outcome(self) -> str | None:
        """None while it runs; `survived`, `timeout`, or the test that failed."""
        ended, status = os.waitpid(self.process, os.WNOHANG)
        if ended:
            return self._end(status)
        if time.monotonic() - self.started < self.limit:
            return None
        os.killpg(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        return "timeout"

    def clean_up(self) -> None:
        """Removes its files, which hold the output of its tests."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def output(self) -> str:
        return (self.folder / "output").read_text(errors="replace")

    def _end(self, status: int) -> str:
        note = self.folder / "outcome.json"
        if not note.exists():
            return f"the process ended with status {status}"
        found = json.loads(note.read_text())
        if found["status"] not in (0, 1, 2):
            raise RuntimeError(f"pytest ended with status {found['status']}:\n{self.output()}")
        if found["status"] and not found["test"]:
            raise RuntimeError(f"no test failed, but pytest did:\n{self.output()}")
        return found["test"] or "survived"


def start(
    tests: Sequence[str], limit: float, mutated: Mapping[str, ast.Module] | None = None
) -> Trial:
    """Starts the tests in a child.

    Args:
      tests: files, or ids of tests.
      limit: seconds.
      mutated: what a module is instead, by its name.
    """
    folder = Path(tempfile.mkdtemp(prefix="mutant-"))
    process = os.fork()
    if not process:
        _child(tests, folder, mutated or {})
    return Trial(process, folder, time.monotonic(), limit)


def _child(tests: Sequence[str], folder: Path, mutated: Mapping[str, ast.Module]) -> None:
    """Never returns."""
    status = 70
    try:
        os.setsid()
        file = os.open(folder / "output", os.O_WRONLY | os.O_CREAT)
        for stream in (1, 2):
            os.dup2(file, stream)
        for module, tree in mutated.items():
            sys.meta_path.insert(0, _Mutated(module, tree))
        first = _FirstFailure()
        status = int(pytest.main([*PYTEST, f"--basetemp={folder}/tmp", *tests], plugins=[first]))
        note = json.dumps({"status": status, "test": first.test})
        (folder / "outcome.json").write_text(note)
    finally:
        sys.stdout.flush()
        os._exit(status)


def warm_up(libraries: Sequence[str]) -> None:
    """Imports what tests import, but for the package; JAX starts no backend by that."""
    os.chdir(ROOT)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    cache = Path(tempfile.gettempdir()) / "safeclip_jax-mutants"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(cache / "hypothesis"))
    for name in libraries:
        try:
            __import__(name)
        except ImportError:
            print(f"{name} is missing: tests that need it are skipped")
    import hypothesis

    phases = hypothesis.Phase.explicit, hypothesis.Phase.generate  # no search for a smaller case
    hypothesis.settings.register_profile("mutants", phases=phases, database=None, derandomize=True)
