"""What pages tell a reader to type is there: commands, configs, keys, modules, functions."""

import importlib
import inspect
import re

import pytest

import safeclip_jax
from docs import tables
from safeclip_jax.commands.console import COMMANDS
from safeclip_jax.runs import config_file, settings

PAGES = [*tables.pages(), tables.ROOT / "experiments/README.md"]
PLACEHOLDERS = {"NAME", "FILE.py", "mine.py", "sizes:NAME", "attacks/PAPER:ROW"}
on_every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def typed(page, pattern):
    return sorted(set(re.findall(pattern, page.read_text())))


@on_every_page
def test_configs_are_there(page):
    for text in typed(page, r"--config=([^\s`'\"]+)"):
        name = text.rstrip(".,;)").removeprefix("configs/")
        if name not in PLACEHOLDERS:
            path = name.partition(":")[0]
            known = path.removesuffix(".py") in config_file.built_in()
            assert known or (tables.ROOT / path).is_file(), text


@on_every_page
def test_keys_are_settings(page):
    for key in typed(page, r"--config\.([a-z_]\w*(?:\.\w+)*)"):
        assert key in settings.KEYS or key.startswith("trimmed_loss."), key


@on_every_page
def test_commands_are_there(page):
    assert set(typed(page, r"safeclip-jax ([a-z]+)")) <= COMMANDS.keys()
    rooms = "safeclip_jax|benchmarks|experiments|tests|docs"
    for module in typed(page, rf"python -m ((?:{rooms})\.[a-z_.]+)"):
        place = tables.ROOT / module.replace(".", "/")
        package = (place / "__main__.py").is_file()
        assert place.with_suffix(".py").is_file() or package, module


@on_every_page
def test_config_files_in_it_can_be_read(page, tmp_path):
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)):
        if "def get_config" in code:
            path = tmp_path / f"config{number}.py"
            path.write_text(code)
            assert len(safeclip_jax.config(str(path)))


def test_the_python_page_has_every_public_name_and_all_of_it_is_documented():
    names = re.findall(r"^::: (\S+)", (tables.ROOT / "docs/python.md").read_text(), re.MULTILINE)
    public = {f"safeclip_jax.{name}" for name in safeclip_jax.__all__ if name != "__version__"}
    assert public <= set(names)
    for name in names:
        for shown in _shown(name):
            assert inspect.getdoc(shown), shown


def _shown(name):
    """A module's classes and functions, or what else bears the name."""
    parent, _, member = name.rpartition(".")
    found = getattr(importlib.import_module(parent), member, None) or importlib.import_module(name)
    if not inspect.ismodule(found):
        return [found]
    members = inspect.getmembers(found, lambda x: inspect.isclass(x) or inspect.isfunction(x))
    return [x for part, x in members if x.__module__ == name and part[0] != "_"]
