"""A run from its settings to its figures, in a folder where it can stop and go on."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import jax
from ml_collections import ConfigDict

from safeclip_jax.attacks import optimized_patch
from safeclip_jax.distributed.watchdog import Heartbeat, no_heartbeat
from safeclip_jax.errors import failed
from safeclip_jax.runs import run_folder, same_data, settings
from safeclip_jax.runs.settings import RunSettings
from safeclip_jax.training import results
from safeclip_jax.training.experiment import build
from safeclip_jax.training.trainer import Diverged, Trainer


def run(
    config: RunSettings | ConfigDict,
    folder: Path,
    heartbeat: Heartbeat = no_heartbeat,
    accept: Collection[str] = (),
) -> dict:
    """Trains, or goes on training, in a work directory, and returns the final figures.

    Args:
      config: the run's settings.
      folder: made if it is not there; a finished run's figures are only read.
      heartbeat: hears of each piece of progress.
      accept: keys of the config that may differ from those of the run in the folder; `data` for
        its data.

    Raises:
      UserError: if the config, the data or the folder cannot be used; an `Outage` if a disk is
        full or fails.
      Interrupted: after a checkpoint, on SIGTERM or SIGINT.
    """
    try:
        run_folder.check_writable(folder)
        with run_folder.held(folder):
            return _run(settings.of(config), folder, heartbeat, accept)
    except OSError as error:
        kept = "all up to the last checkpoint is kept, and once this is mended the same command"
        raise failed(str(error.filename or folder), error, f"{kept} goes on") from None


def _run(config: RunSettings, folder: Path, heartbeat: Heartbeat, accept: Collection[str]) -> dict:
    changed = run_folder.check_config(folder, config, accept)
    if run_folder.exists(folder / "results.json"):
        return results.read(folder / "results.json")
    experiment = build(config, folder, heartbeat)
    data = experiment.data_digests()
    changed += same_data.check(folder, data, accept)
    run_folder.claim(folder, config)
    if jax.process_index() == 0:
        same_data.note(folder, data)
        experiment.tokenizer.save(folder / "tokenizer.json")
        experiment.attack.manifest.claim(folder / "poison_manifest.json")
        optimized_patch.keep(experiment.attack.triggers, folder)
        experiment.skipped.list_in(folder / "skipped.jsonl")
    rollback = False
    while True:
        trainer = Trainer(experiment, folder, heartbeat, changed, rollback)
        try:
            trainer.train()
            return trainer.finish()
        except Diverged:
            rollback = True
        finally:
            trainer.close()
