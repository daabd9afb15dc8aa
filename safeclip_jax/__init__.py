"""CLIP pre-training that stays safe when the scraped data is poisoned.

import safeclip_jax

c = safeclip_jax.config("demo")                  # all settings, to be changed
figures = safeclip_jax.train(c, "runs/mine")     # accuracy, attack success, pools …
model = safeclip_jax.load("runs/mine")           # images and captions to unit vectors
safeclip_jax.evaluate("runs/mine", "cifar10")    # zero-shot and more
safeclip_jax.audit("csv:pairs.csv", "suspects")  # which pairs are poisoned?
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from safeclip_jax.auditing.report import Audit
    from safeclip_jax.evaluation.records import Record
    from safeclip_jax.inference.model import Model

__all__ = ["__version__", "audit", "config", "evaluate", "load", "train"]
__version__ = "0.2.0"


def config(name: str = "") -> ConfigDict:
    """The settings of a built-in config or of a file; the defaults without a name.

    Args:
      name: `demo`, `vitb32`, … or a path that ends in `.py`; `:ARGUMENT` where it takes one.

    Raises:
      UserError: if there is no such config.
    """
    from safeclip_jax.runs import config_file, settings

    return config_file.read(name) if name else settings.defaults()


def train(config: ConfigDict, folder: str | Path) -> dict[str, Any]:
    """Trains as the settings say, or goes on with the run in the folder.

    Args:
      config: of `safeclip_jax.config`.
      folder: of the run.

    Returns:
      The figures, as in `results.json`.

    Raises:
      UserError: if the settings or the data cannot be used.
    """
    from safeclip_jax.commands import train
    from safeclip_jax.runs import settings
    from safeclip_jax.system import host

    run = settings.of(config)
    host.set_up_jax()
    return train.trained(run, Path(folder))


def load(path: str | Path, preset: str = "", activation: str = "") -> Model:
    """Loads a trained model: a run's folder, or a model of ours, Hugging Face's or open_clip's.

    Args:
      path: of the folder, or of a file of tensors in open_clip's layout.
      preset, activation: for such a file, which says neither.

    Raises:
      UserError: if there is no model, or it is not like ours.
    """
    from safeclip_jax.inference.model import Model
    from safeclip_jax.weights import pretrained

    return Model(pretrained.read(Path(path), preset, activation))


def evaluate(
    path: str | Path, data: str = "", tasks: Sequence[str] = ("zero_shot",), **flags: Any
) -> list[Record]:
    """Evaluates a trained model; a record of figures for each task.

    Args:
      path: as for `load`.
      data: a data set by name, or KIND:PATH; empty for what its run held out.
      tasks: zero_shot, retrieval, linear_probe, published_probe, knn, attack.
      **flags: further ones of `safeclip-jax evaluate`, as `out="figures"`.

    Raises:
      UserError: if the model or the data cannot be used.
    """
    from safeclip_jax.commands import command_line, evaluate

    named = {"checkpoint": path, "data": data or None, "tasks": list(tasks)}
    return evaluate.evaluated(command_line.arguments(named | flags))


def audit(data: str, out: str | Path, model: str | Path = "", **flags: Any) -> Audit:
    """Scores every pair of a data set, and says whether somebody poisoned it.

    Args:
      data: KIND:PATH of the pairs.
      out: folder to write: page, suspects, scores, the pairs to keep.
      model: that scores them; empty: a small one is trained on the pairs first.
      **flags: further ones of `safeclip-jax audit`, as `suspects=100`.

    Raises:
      UserError: if the data or the model cannot be used.
    """
    from safeclip_jax.commands import audit, command_line

    named = {"data": data, "out": out, "checkpoint": model or None}
    return audit.audited(command_line.arguments(named | flags))
