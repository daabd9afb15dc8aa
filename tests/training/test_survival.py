"""What a run does when its disk, its data or its numbers fail; whole drills: tests/drills."""

import errno
import json
import signal
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from safeclip_jax.checkpoints import variables
from safeclip_jax.data import files
from safeclip_jax.data.files import Files
from safeclip_jax.defenses import pool_files, pools
from safeclip_jax.defenses.safeclip import SafeCLIP
from safeclip_jax.errors import BadRecord, Outage, UserError
from safeclip_jax.runs import run_folder, same_data, settings
from safeclip_jax.system.signals import CHECKPOINT, Interrupted, Signals
from safeclip_jax.training import loop, preflight
from safeclip_jax.training import metrics as run_metrics
from safeclip_jax.training import trainer as trainers
from safeclip_jax.training.checkpoint import Position
from safeclip_jax.training.epoch_pools import EpochPools
from safeclip_jax.training.in_flight import StepsInFlight


@pytest.fixture
def failing(tmp_path, monkeypatch):
    """Files whose first reads fail with an error number."""
    (tmp_path / "a").write_bytes(b"content")
    monkeypatch.setattr(files, "WAITS", (0.0, 0.0))
    read = Files._read_local

    def fail(times, number):
        left = [OSError(number, "it fails")] * times

        def broken(self, *args):
            if left:
                raise left.pop()
            return read(self, *args)

        monkeypatch.setattr(Files, "_read_local", broken)
        return Files(str(tmp_path))

    return fail


def test_a_disk_that_fails_for_a_moment_is_asked_again(failing):
    assert failing(2, errno.EIO).read("a") == b"content"


def test_a_disk_that_keeps_failing_is_an_outage_and_no_bad_record(failing):
    with pytest.raises(Outage, match=r"cannot be read, 3 times \(it fails\): .*the same") as e:
        failing(3, errno.EIO).read("a")
    assert e.value.status == 75 and "\n" not in str(e.value)


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENAMETOOLONG])
def test_what_the_file_is_to_blame_for_is_a_bad_record_at_once(failing, number):
    with pytest.raises(BadRecord, match="it fails"):
        failing(1, number).read("a")


def spoil(monkeypatch, step, again):
    """Makes all parameters NaN after a step, once or whenever the run comes by."""
    advance = trainers.Trainer._advance

    def spoilt(self, **changes):
        advance(self, **changes)
        if changes.get("total_steps") == step and (again or not self.position.rollbacks):
            params = jax.tree.map(lambda x: x * float("nan"), self.state.params)
            self.state = self.state.replace(params=params)

    monkeypatch.setattr(trainers.Trainer, "_advance", spoilt)


@pytest.mark.by_hand
def test_a_run_goes_back_once_and_ends_as_if_nothing_had_been(config, tmp_path, monkeypatch):
    config.optimizer.max_skipped_steps, config.epochs, config.defense = 3, 4, "none"
    loop.run(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        spoil(patch, 14, again=False)
        loop.run(config, tmp_path / "spoilt")
    here, there = (variables.read_variables(tmp_path / r) for r in ("whole", "spoilt"))
    jax.tree.map(np.testing.assert_array_equal, here, there)
    lines = run_metrics.read(tmp_path / "spoilt/metrics.jsonl")
    assert [line["step"] for line in lines if line["kind"] == "rollback"] == [12]
    losses = [
        [
            line["loss"]
            for line in run_metrics.read(tmp_path / r / "metrics.jsonl")
            if "loss" in line
        ]
        for r in ("whole", "spoilt")
    ]
    assert losses[0] == losses[1]
    spoil(monkeypatch, 14, again=True)
    with pytest.raises(UserError, match=r"not finite for 3 steps .* after 1 return\(s\)"):
        loop.run(config, tmp_path / "again")


def trainer_at(folder, position):
    trainer = trainers.Trainer.__new__(trainers.Trainer)
    trainer.folder, trainer.position = folder, position
    return trainer


def taken_up(folder, position):
    """The pools that a run takes up at a position; None where it makes new ones."""
    found = EpochPools(folder, SafeCLIP())
    return found.latest if found.made_before(position) else None


def test_pools_are_never_computed_twice_in_an_epoch(tmp_path):
    split = pools.split(np.random.default_rng(0).random(40), seed=0, threshold=0.5)
    other = pools.split(np.random.default_rng(1).random(40), seed=0, threshold=0.5)
    inside = Position(3, 1, 0, 30, pools=split.digest())
    with pytest.raises(UserError, match="not what this epoch began with, and pools are never"):
        taken_up(tmp_path, inside)
    pool_files.save(other, pool_files.path(tmp_path, 3))
    with pytest.raises(UserError, match=r"epoch_003\.npz is not what this epoch began with"):
        taken_up(tmp_path, inside)
    pool_files.save(split, pool_files.path(tmp_path, 3))
    found = taken_up(tmp_path, inside)
    assert found.digest() == split.digest()


def test_pools_that_are_gone_are_not_made_again_from_others(tmp_path):
    splits = [
        pools.split(np.random.default_rng(seed).random(40), seed=0, threshold=0.5)
        for seed in range(2)
    ]
    for epoch, split in enumerate(splits, 2):
        pool_files.save(split, pool_files.path(tmp_path, epoch))
    begins = Position(4, 0, 0, 30, pools=splits[1].digest())
    found = EpochPools(tmp_path, SafeCLIP())
    found.read_before(begins)
    assert found.digest == splits[1].digest()
    pool_files.path(tmp_path, 3).unlink()
    with pytest.raises(UserError, match=r"epoch_002\.npz is not what the newest checkpoint"):
        EpochPools(tmp_path, SafeCLIP()).read_before(begins)
    pool_files.path(tmp_path, 2).unlink()
    with pytest.raises(UserError, match=r"pools is not what .*: restore the file, or train anew"):
        EpochPools(tmp_path, SafeCLIP()).read_before(begins)
    EpochPools(tmp_path, SafeCLIP()).read_before(Position())


def test_a_signal_during_a_checkpoint_is_heeded_after_the_next_step(config, tmp_path):
    config.checkpoint_minutes = 0.0
    trainer = trainer_at(tmp_path, Position())
    trainer.x, trainer.signals = SimpleNamespace(config=settings.of(config)), Signals()
    trainer.clock, trainer.checkpoints = run_metrics.Clock({}), SimpleNamespace(close=lambda: None)
    trainer._flight, trainer._answered, trainer._saved_at = StepsInFlight(print), 0, 0.0
    with trainer.signals.heard():
        trainer._save = lambda: signal.raise_signal(signal.SIGTERM)
        trainer._answer(0)
        trainer._save = lambda: None
        with pytest.raises(Interrupted) as stop:
            trainer._answer(0)
    assert stop.value.code == 143


def test_signals_checkpoint_as_often_as_they_like_and_stop_once(request):
    # A test run in the background may have begun with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    signals = Signals()
    with signals.heard():
        for _ in range(2):
            signal.raise_signal(signal.SIGUSR1)
            assert signals.request == CHECKPOINT
            signals.checkpoint_begins()
            assert signals.request == 0
        signal.raise_signal(signal.SIGINT)
        assert signals.request == 130
        signals.checkpoint_begins()
        assert signals.request == 130
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_run_goes_on_with_other_values_of_keys_that_are_named(config, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(settings.as_dict(settings.of(config))))
    config.data.threads, config.keep_checkpoints = 7, 5  # change nothing that is computed
    assert len(run_folder.check_config(tmp_path, settings.of(config))) == 2
    config.epochs, config.mesh.fsdp = 9, 2
    with pytest.raises(UserError, match=r"epochs: there 5, here 9.*--accept=epochs,mesh\.fsdp"):
        run_folder.check_config(tmp_path, settings.of(config))
    with pytest.raises(UserError, match=r"--accept=mesh\.fsdp"):
        run_folder.check_config(tmp_path, settings.of(config), ["epochs"])
    found = run_folder.check_config(tmp_path, settings.of(config), ["epochs", "mesh.fsdp"])
    assert "epochs: there 5, here 9" in found and len(found) == 4
    path.write_text("[")
    with pytest.raises(UserError, match=r"config\.json cannot be read"):
        run_folder.check_config(tmp_path, settings.of(config))


def test_a_damaged_config_is_refused_in_one_line(config, tmp_path):
    (tmp_path / "config.json").write_text('{"\\n": null, "\\ud800": {"\\t": 1}}')
    with pytest.raises(UserError) as refused:
        run_folder.check_config(tmp_path, settings.of(config))
    assert str(refused.value).isprintable()


def test_a_full_disk_is_one_line_that_says_what_is_kept(config, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "metrics.jsonl"))

    monkeypatch.setattr(run_metrics.MetricsLog, "write", full)
    config.epochs, config.defense = 1, "none"
    with pytest.raises(UserError, match=r"metrics\.jsonl: No space left on device; all up to"):
        loop.run(config, tmp_path)


def test_a_run_does_not_go_on_with_other_data(config, tmp_path):
    run_folder.claim(tmp_path, settings.of(config))
    there = {"pairs": 400, "keys": "other", "captions": "", "labels": "", "images": ""}
    same_data.note(tmp_path, {same_data.TRAINING: there})
    for begin in (loop.run, preflight.dry_run):
        with pytest.raises(UserError, match=r"run on other data .*--accept=data"):
            begin(settings.of(config), tmp_path)
    assert not (tmp_path / "checkpoints").exists()
