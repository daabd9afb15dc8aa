"""Configs by name and by file, and one line for each that cannot be used."""

import shutil
from pathlib import Path

import pytest

import safeclip_jax
from safeclip_jax.errors import UserError
from safeclip_jax.runs import config_file, settings

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("name", config_file.built_in())
def test_a_built_in_config_is_the_same_by_name_and_by_file(name, monkeypatch, tmp_path):
    argument = {"sizes": ":vit_s32"}.get(name, "")
    by_name = safeclip_jax.config(name + argument)
    assert by_name == safeclip_jax.config(f"{CONFIGS / name}.py{argument}")
    monkeypatch.chdir(CONFIGS.parent)
    assert by_name == safeclip_jax.config(f"configs/{name}.py{argument}")
    monkeypatch.chdir(tmp_path)  # the built-in ones are found anywhere
    assert by_name == safeclip_jax.config(name + argument)


def test_without_a_name_there_are_the_defaults():
    assert safeclip_jax.config() == settings.defaults()


def test_every_built_in_config_is_a_run_or_a_grid():
    assert {"demo", "vitb32", "grid_demo", "attacks/huang"} <= set(config_file.built_in())
    for name in config_file.built_in():
        config = safeclip_jax.config(name + {"sizes": ":vit_s32"}.get(name, ""))
        settings.of(config.cell if "cell" in config else config)


def test_a_user_s_own_file_in_any_folder(tmp_path, monkeypatch):
    shutil.copy(CONFIGS / "demo.py", tmp_path / "mine.py")
    monkeypatch.chdir(tmp_path)
    for text in ("mine.py", "./mine.py", str(tmp_path / "mine.py")):
        assert safeclip_jax.config(text) == safeclip_jax.config("demo")
    assert config_file.name("mine.py") == "mine" and config_file.name("a/b.py:C") == "b-C"


FILES = {
    "empty.py": ("", "has no get_config()"),
    "raises.py": ("def get_config():\n    return 1 / 0\n", "raises.py, line 2: division by zero"),
    "syntax.py": ("def get_config(:\n", "syntax.py, line 1: "),
    "nothing.py": ("def get_config():\n    pass\n", "returns no ConfigDict"),
    "exits.py": ("import no_such_module\n", "exits.py, line 1: No module named 'no_such_module'"),
    "unknown.py": (
        "import safeclip_jax\ndef get_config():\n    c = safeclip_jax.config('demo')\n"
        "    c.safeclip.grwth = 1\n    return c\n",
        "line 4: unknown config key 'grwth'",
    ),
    "wrong.py": (
        "import safeclip_jax\ndef get_config():\n    c = safeclip_jax.config('demo')\n"
        "    c.epochs = 'many'\n    return c\n",
        "line 4: ",
    ),
    "other.py": (
        "import safeclip_jax\ndef get_config():\n    return safeclip_jax.config('dmeo')\n",
        "--config=dmeo is no FILE.py and no built-in config: did you mean 'demo'?",
    ),
    "multiline.py": ("raise ValueError('one\\ntwo')\n", "multiline.py, line 1: one"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_used_is_one_line(name, tmp_path, monkeypatch):
    content, message = FILES[name]
    (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    for text in (name, str(tmp_path / name)):
        with pytest.raises(UserError) as error:
            safeclip_jax.config(text)
        assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("gone.py", "--config=gone.py does not exist: give a file, or one of"),
        ("/no/such/demo.py", "--config=/no/such/demo.py does not exist"),
        ("dem", "--config=dem is no FILE.py and no built-in config: did you mean 'demo'?"),
        ("demo:x", "--config=demo:x: this config takes no argument"),
        ("attacks/huang:badnet", "no row 'badnet'"),
        ("configs/demo", "--config=configs/demo is no FILE.py"),
        ("../configs/demo", "is no FILE.py"),
    ],
)
def test_a_name_that_is_none_is_one_line(text, message):
    with pytest.raises(UserError) as error:
        safeclip_jax.config(text)
    assert message in str(error.value) and "\n" not in str(error.value)
