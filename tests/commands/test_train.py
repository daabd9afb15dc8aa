"""The command line: help, the dry run, and one clear line for everything that is wrong."""

import os
import re
import sys
import types

import jax
import pytest

from safeclip_jax.commands import program, train
from safeclip_jax.runs import settings

DEVICES = 8

DEMO = "--config=demo"


def cli(capsys, monkeypatch, *arguments):
    """Runs the command in this process; returns (status, out, err)."""
    monkeypatch.setattr(sys, "argv", ["safeclip_jax.main", *arguments])
    with pytest.raises(SystemExit) as stop:
        program.run(train.main)
    return stop.value.code, *capsys.readouterr()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "try --config=demo"),
        ([DEMO, "--config.sead=1"], "unknown config key 'sead': did you mean 'seed'?"),
        (
            [DEMO, "--config.safeclip.grow=1"],
            "key 'safeclip.grow': did you mean 'growth'?",
        ),
        (
            [DEMO, "--config.growth=1"],
            "'safeclip_plus.growth' or 'published.growth'?",
        ),
        ([DEMO, "--config.epochs=many"], "--config.epochs=many: a whole number is needed"),
        ([DEMO, "--config.data.part=1"], "--config.data.part=1: 2 values, each a number is needed"),
        ([DEMO, "--config.model.scan=maybe"], "True or False is needed"),
        ([DEMO, "--wrkdir=x"], "unknown flag --wrkdir: did you mean '--workdir'?"),
        ([DEMO, "extra"], "unexpected argument 'extra'"),
        ([DEMO, "--config.defense=safclip"], "defense='safclip' is not one of"),
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
        ([DEMO, "--config.score.view=flipped"], "'score.view' is gone: images are scored as they"),
        (["--config=attacks/huang:badnet"], "write NAME:ROW with one of"),
        ([DEMO, "--config.safeclip.rule=papr"], "did you mean 'paper'"),
        ([DEMO, "--config.safeclip.cap=1.2"], "safeclip.cap=1.2 is not between 0 and 1"),
        ([DEMO, "--config.safeclip_plus.cap=2"], "safeclip_plus.cap=2.0 is not between 0 and 1"),
        ([DEMO, "--config.model.image_size=33"], "not a multiple"),
        ([DEMO, "--config.augment.picture_size=16"], "is below model.image_size=32"),
        ([DEMO, "--config.augment.picture_size=100000"], "is not between 0 and 4096"),
        (
            [DEMO, "--config.defense=clipscore", "--config.clipscore.model=/no"],
            "clipscore.model: /no",
        ),
        ([DEMO, "--config.defense=par"], "defense=par fine-tunes a finished run: set init_from"),
        ([DEMO, "--config.attack.word.text= "], "word.text=' ' is not a text that is not empty"),
        (
            [DEMO, "--config.attack.phrase=mn"],
            "attack.phrase='mn' changes nothing with attack.kind",
        ),
        ([DEMO, "--config.model.dtype=float8"], "model.dtype='float8' is not one of"),
        ([DEMO, "--config.score.kind=cosin"], "did you mean 'cosine'"),
        ([DEMO, "--config.unimodal.bank_size=1000"], "not a multiple of batch_size=64"),
        ([DEMO, "--config.seed=-1"], "seed=-1 is not at least 0"),
        ([DEMO, "--config.epochs=0"], "at least 1"),
        (["--config=vitb32"], "--config.data.source=csv:PATH at your data"),
    ],
)
def test_bad_input_gets_one_line(capsys, monkeypatch, tmp_path, arguments, message):
    arguments = [*arguments, f"--workdir={tmp_path}"]
    status, _, err = cli(capsys, monkeypatch, *arguments)
    assert status == 2
    assert message in err and err.startswith("error: ") and err.count("\n") == 1
    assert not (tmp_path / "config.json").exists()


def test_help_documents_every_key(capsys, monkeypatch):
    status, out, _ = cli(capsys, monkeypatch, "--help")
    assert status == 0
    lines = dict(line.strip().split(" = ", 1) for line in out.splitlines() if " = " in line)
    for key in settings.KEYS.values():
        assert lines[key.name].startswith(f"{key.default!r}  # ")
        assert re.search(r"  # \w", lines[key.name]), key.name


def test_dry_run_prints_the_plan_and_trains_nothing(capsys, monkeypatch, tmp_path):
    small = ["--config.data.pairs=400", "--config.batch_size=64", "--config.score.batch_size=64"]
    small += ["--config.model.preset=nano"]
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
    assert status == 75 and "0 MiB free" in err


def test_the_environment_is_what_the_tests_need():
    assert jax.device_count() == 8 and os.environ["JAX_PLATFORMS"] == "cpu"
