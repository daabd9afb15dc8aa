"""The installed program: one name for all commands, and one way to change a key in each."""

import sys

import pytest

import safeclip_jax
from safeclip_jax import __version__
from safeclip_jax.commands import console
from tests.support.untrained import untrained


def program(capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["safeclip-jax", *arguments])
    with pytest.raises(SystemExit) as stop:
        console.cli()
    return stop.value.code or 0, *capsys.readouterr()


@pytest.mark.parametrize("name", console.COMMANDS)
def test_every_command_explains_itself(name, capsys, monkeypatch):
    status, out, err = program(capsys, monkeypatch, name, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: safeclip-jax {name} ") and f"\n  safeclip-jax {name} " in out


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)], ids=str)
def test_without_a_command_they_are_listed(arguments, capsys, monkeypatch):
    status, out, err = program(capsys, monkeypatch, *arguments)
    assert (status, err) == (0, "")
    for name, what in console.COMMANDS.items():
        assert f"  {name}" in out and what in out


def test_it_tells_its_version(capsys, monkeypatch):
    assert program(capsys, monkeypatch, "--version") == (0, f"safeclip-jax {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["trian"], "unknown command 'trian': did you mean 'train'?"),
        (["xyz"], "unknown command 'xyz': the commands are train, poison,"),
        (["--config=demo"], "unknown command '--config=demo'"),
        (["train", "--wrkdir=x"], "unknown flag --wrkdir: did you mean '--workdir'?"),
        (["export", "--config=demo"], "unknown flag --config"),
        (["prepare", "--config.seed=1"], "unknown flag --config"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, message, capsys, monkeypatch):
    status, out, err = program(capsys, monkeypatch, *arguments)
    assert status == 2 and not out
    assert err.startswith(f"error: {message}") and err.count("\n") == 1


# What each command needs beside the change of a key, to come as far as to read it.
TAKES_KEYS = {
    "train": ("--config=demo",),
    "poison": ("--config=demo", "--out={tmp}/out"),
    "grid": ("--config=grid_demo", "--folder={tmp}/grid"),
    "audit": ("--data=scenes", "--out={tmp}/audit"),
    "evaluate": ("--checkpoint={run}", "--out={tmp}/evaluation"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = safeclip_jax.config("audit")
    config.data.pairs, config.epochs, config.defense = 128, 1, "none"
    untrained(config, folder)
    return folder


@pytest.mark.parametrize("name", TAKES_KEYS)
def test_a_key_is_changed_in_one_way_in_every_command(name, run, tmp_path, capsys, monkeypatch):
    flags = [flag.format(tmp=tmp_path, run=run) for flag in TAKES_KEYS[name]]
    for change, message in (
        ("--config.attack.rates=1", "unknown config key 'attack.rates': did you mean 'rate'?"),
        ("--config.attack.rate=much", "--config.attack.rate=much: a number is needed"),
        ("--config.attack.rate=2", "attack.rate=2.0 is not between 0 and 1"),
    ):
        status, _, err = program(capsys, monkeypatch, name, *flags, change)
        assert status == 2 and message in err and err.count("\n") == 1, (change, err)
