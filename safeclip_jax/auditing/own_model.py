"""The model that the auditor trains itself where none is given."""

from __future__ import annotations

from pathlib import Path

from safeclip_jax.auditing.subject import Subject, of_run
from safeclip_jax.data.sources import SourceOptions
from safeclip_jax.runs import config_file, run_data
from safeclip_jax.training import loop


def trained(path: str, spec: str, options: SourceOptions, folder: Path) -> Subject:
    """Trains a model on the pairs by SafeCLIP, or goes on with it, and returns it as a run.

    Args:
      path: of the config that says how, as `configs/audit.py`.
      spec, options: of the pairs.
      folder: of the run.
    """
    config = config_file.read(path, "configs/audit.py")
    config.data.source, config.data.pairs = spec, options.count
    for name in run_data.OF_A_SOURCE:
        config.data[name] = getattr(options, name)
    folder.mkdir(parents=True, exist_ok=True)
    loop.run(config, folder)
    return of_run(folder)
