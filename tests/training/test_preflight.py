"""What the dry run promises is what the run then takes, for every defence."""

import re

import jax.numpy as jnp
import pytest

from safeclip_jax.defenses import DEFENSES
from safeclip_jax.runs import settings
from safeclip_jax.training import loop, preflight
from safeclip_jax.training import metrics as run_metrics
from safeclip_jax.training.steps import Steps
from safeclip_jax.training.trainer import Trainer

BATCH, PAIRS = 16, 80


@pytest.fixture
def small(config):
    config.model.preset, config.batch_size, config.data.pairs = "nano", BATCH, PAIRS
    config.epochs, config.score.batch_size, config.unimodal.bank_size = 4, BATCH, 2 * BATCH
    config.evaluate.source, config.attack.rate = "", 0.0
    return config


@pytest.mark.parametrize("defense", DEFENSES)
def test_the_pairs_of_the_plan_are_those_that_the_run_takes(
    defense, small, tmp_path, monkeypatch, capsys
):
    small.defense = defense
    run = settings.of(small)
    if defense == "cleanclip":
        monkeypatch.setattr(type(run.plan), "check", lambda *_: None)
    monkeypatch.setattr(preflight, "_memory_table", lambda *_: "")
    monkeypatch.setenv("COLUMNS", "200")
    preflight.dry_run(run, tmp_path)
    planned = planned_stages(capsys.readouterr().out)
    taken = taken_stages(run, tmp_path / "run", monkeypatch)
    assert planned.keys() == {stage for _, stage in taken}
    for (epoch, stage), (pairs, steps) in taken.items():
        first, last, of_pairs, of_steps = planned[stage]
        assert first <= epoch + 1 <= last
        if of_pairs is not None:
            assert (pairs, steps) == (of_pairs, of_steps)
    by_scores = {stage for stage, (_, _, pairs, _) in planned.items() if pairs is None}
    assert by_scores == {
        "safeclip": {"risky", "safe"},
        "safeclip_plus": {"safe", "safe again"},
    }.get(defense, set())


def planned_stages(printed):
    """From the table: first and last epoch, pairs and steps of each stage; None: by the scores."""
    found = {}
    for line in printed.splitlines():
        cells = [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]
        epochs = re.fullmatch(r"(\d+)–(\d+)", cells[0]) if len(cells) == 7 else None
        if epochs:
            counts = [int(c) if c.isdigit() else None for c in cells[5:]]
            assert counts[0] is not None or cells[5] == cells[6] == "by the scores"
            found[cells[1]] = (int(epochs[1]), int(epochs[2]), *counts)
    return found


def taken_stages(run, folder, monkeypatch):
    """Of a run whose steps change nothing: pairs that batches were made of, and steps."""
    pairs = {}
    batches_of = Trainer._batches

    def batches(self, stage, indices, place):
        pairs[place[0], stage.name] = len(indices)
        return batches_of(self, stage, indices, place)

    def still(self, kind, state, batch_size, length=None):
        def step(state, batch, rate, place):
            zero = jnp.zeros(())
            names = ("loss", "logit_scale", "grad_norm", "skipped_in_a_row")
            return state, dict.fromkeys(names, zero)

        return Still(step)

    monkeypatch.setattr(Trainer, "_batches", batches)
    monkeypatch.setattr(Steps, "lower_train", still)
    loop.run(run, folder)
    lines = [m for m in run_metrics.read(folder / "metrics.jsonl") if m["kind"] == "train"]
    return {
        (epoch, stage): (count, sum((m["epoch"], m["stage"]) == (epoch, stage) for m in lines))
        for (epoch, stage), count in pairs.items()
    }


class Still:
    """A step that is compiled already."""

    def __init__(self, step):
        self._step = step

    def compile(self):
        return self._step
