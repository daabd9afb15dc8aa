"""The command line: help, the dry run, and one clear line for everything that is wrong."""

import contextlib
import os
import re
import sys
import types

import jax
import pytest
from absl import flags

from safeclip_jax.commands import train

DEMO = "--config=configs/demo.py"


def cli(capsys, monkeypatch, *arguments):
    """Runs the command in this process with fresh flag values; returns (status, out, err)."""
    monkeypatch.setattr(sys, "argv", ["safeclip_jax.main", *arguments])
    status = 0
    with flag_values():
        try:
            train.cli()
        except SystemExit as stop:
            status = stop.code
    out, err = capsys.readouterr()
    return status, out, err


@contextlib.contextmanager
def flag_values():
    values = flags.FLAGS
    saved = {name: (values[name].value, values[name].present) for name in ("workdir", "dry-run")}
    known = set(values)
    try:
        yield
    finally:
        for name in set(values) - known:
            delattr(values, name)
        for name, (value, present) in saved.items():
            values[name].value, values[name].present = value, present
        values["config"].present = 0
        values["config"]._value = None
        values.unparse_flags()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "try --config=configs/demo.py"),
        (["--config=configs/gone.py"], "configs/gone.py"),
        ([DEMO, "--config.sead=1"], "unknown config key 'sead': did you mean 'seed'?"),
        ([DEMO, "--config.safeclip.grow=1"], "unknown config key 'grow': did you mean 'growth'?"),
        ([DEMO, "--config.epochs=many"], "invalid literal"),
        ([DEMO, "--wrkdir=x"], "Did you mean: workdir"),
        ([DEMO, "extra"], "unexpected argument 'extra'"),
        ([DEMO, "--config.defense=safclip"], "unknown defense 'safclip': did you mean 'safeclip'?"),
        ([DEMO, "--config.batch_size=100"], "batch_size=100 does not divide over 8 devices"),
        ([DEMO, "--config.data.pairs=0"], "0 pairs"),
        ([DEMO, "--config.attack.rate=0.00001"], "rounds to no poison"),
        ([DEMO, "--config.attack.target=boat"], "unknown attack.target 'boat'"),
        ([DEMO, "--config.attack.badnets.pattern=chekerboard"], "did you mean 'checkerboard'"),
        ([DEMO, "--config.attack.trigger=badnet"], "did you mean 'badnets'"),
        ([DEMO, "--config.attack.kind=target"], "did you mean 'targeted'"),
        ([DEMO, "--config.defense=cleanclip"], "set init_from to its folder"),
        ([DEMO, "--config.init_from=nowhere"], "nowhere"),
        ([DEMO, "--config.roclip.every=0", "--config.defense=roclip"], "roclip.every=0"),
        ([DEMO, "--config.score.view=flipped"], "unknown score.view"),
        (["--config=configs/attacks/huang.py:badnet"], "write FILE.py:ROW with one of"),
        ([DEMO, "--config.safeclip.rule=papr"], "did you mean 'paper'"),
        ([DEMO, "--config.safeclip.cap=1.2"], "safeclip.cap=1.2 is not between 0 and 1"),
        ([DEMO, "--config.model.image_size=33"], "not a multiple"),
        ([DEMO, "--config.model.dtype=float8"], "unknown model.dtype"),
        ([DEMO, "--config.score.kind=cosin"], "did you mean 'cosine'"),
        ([DEMO, "--config.unimodal.bank_size=1000"], "not a multiple of batch_size=64"),
        ([DEMO, "--config.seed=-1"], "must not be negative"),
        ([DEMO, "--config.epochs=0"], "at least 1"),
        (["--config=configs/vitb32.py"], "--config.data.source=csv:PATH at your data"),
    ],
)
def test_bad_input_gets_one_line(capsys, monkeypatch, tmp_path, arguments, message):
    arguments = [*arguments, f"--workdir={tmp_path}"]
    status, _, err = cli(capsys, monkeypatch, *arguments)
    assert status == 2
    assert message in err and err.startswith("error: ") and err.count("\n") == 1
    assert not (tmp_path / "config.json").exists()


def test_help_documents_every_key(capsys, monkeypatch):
    from configs import common

    status, out, _ = cli(capsys, monkeypatch, "--help")
    assert status == 0
    lines = dict(line.strip().split(" = ", 1) for line in out.splitlines() if " = " in line)

    def check(config, prefix=""):
        for name, value in config.items():
            if hasattr(value, "items"):
                check(value, f"{prefix}{name}.")
            else:
                assert re.search(r"  # \w", lines[f"{prefix}{name}"]), f"{prefix}{name}"

    check(common.get_config())


def test_dry_run_prints_the_plan_and_trains_nothing(capsys, monkeypatch, tmp_path):
    small = ["--config.data.pairs=400", "--config.batch_size=64", "--config.score.batch_size=64"]
    flag = f"--workdir={tmp_path}"
    status, out, err = cli(capsys, monkeypatch, DEMO, *small, flag, "--dry-run")
    assert status == 0, err
    for text in ("4 of them poisoned", "warm-up", "slow start", "by the compiler", "3–3"):
        assert text in out
    assert not any(tmp_path.iterdir())


def test_full_or_forbidden_disks_are_found_before_training(capsys, monkeypatch, tmp_path):
    status, _, err = cli(capsys, monkeypatch, DEMO, "--workdir=/proc/here")
    assert status == 2 and "cannot be written" in err
    full = types.SimpleNamespace(total=2**30, used=2**30, free=0)
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)
    status, _, err = cli(capsys, monkeypatch, DEMO, f"--workdir={tmp_path}")
    assert status == 2 and "0 MiB free" in err


def test_the_environment_is_what_the_tests_need():
    assert jax.device_count() == 8 and os.environ["JAX_PLATFORMS"] == "cpu"
