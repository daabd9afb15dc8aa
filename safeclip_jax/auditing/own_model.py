"""The model that the auditor trains itself where none is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from safeclip_jax.auditing.subject import Subject, of_run
from safeclip_jax.data.sources import SourceOptions
from safeclip_jax.runs import run_data
from safeclip_jax.runs.settings import RunSettings
from safeclip_jax.training import loop


def trained(run: RunSettings, spec: str, options: SourceOptions, folder: Path) -> Subject:
    """Trains a model on the pairs by SafeCLIP, or goes on with it, and returns it as a run.

    Args:
      run: how, as `configs/audit.py`.
      spec, options: of the pairs.
      folder: of the run.
    """
    keys = {name: getattr(options, name) for name in run_data.OF_A_SOURCE}
    data = replace(run.data, source=spec, pairs=options.count, **keys)
    folder.mkdir(parents=True, exist_ok=True)
    loop.run(replace(run, data=data), folder)
    return of_run(folder)
