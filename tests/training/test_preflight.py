"""What the dry run promises is what the run then takes, for every defence."""

import re

import jax.numpy as jnp
import pytest
from PIL import Image

from safeclip_jax.defenses import DEFENSES
from safeclip_jax.errors import UserError
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
    if defense in ("cleanclip", "par"):
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


@pytest.fixture
def dry(small, tmp_path, monkeypatch, capsys):
    """Prints what a dry run of changed settings prints, without compiling a step."""
    monkeypatch.setattr(preflight, "_memory_table", lambda *_: "")
    monkeypatch.setenv("COLUMNS", "200")

    def run(**changes):
        small.update_from_flattened_dict(changes)
        preflight.dry_run(settings.of(small), tmp_path)
        return capsys.readouterr().out

    return run


def pictures(folder, broken):
    """A table of 40 pictures, so many of which are none."""
    lines = ["image,caption"]
    for number in range(40):
        picture = Image.new("RGB", (8, 8), (number, 0, 0))
        picture.save(folder / f"{number}.png")
        if number < broken:
            (folder / f"{number}.png").write_bytes(b"no picture")
        lines.append(f"{number}.png,picture number {number}")
    (folder / "pairs.csv").write_text("\n".join(lines))
    return {"data.source": f"csv:{folder}/pairs.csv", "data.pairs": 0, "data.tokenizer": "train"}


def test_a_dry_run_reads_pictures_and_tells_what_cannot_be_used(dry, tmp_path):
    assert "80 read, all can be used" in dry()
    data = pictures(tmp_path, broken=4)
    printed = dry(**data, **{"data.max_skipped_share": 0.1})
    assert "4 of 40 cannot be used, the first: 0.png: " in printed
    assert "all checks passed" in printed
    with pytest.raises(UserError, match=r"4 of 40 .*more than data\.max_skipped_share=0\.05"):
        dry(**{"data.max_skipped_share": 0.05})


def test_a_dry_run_refuses_what_the_run_would(dry):
    with pytest.raises(UserError, match=r"unknown evaluate\.tasks 'zeroshot': did you mean"):
        dry(**{"evaluate.tasks": ("zeroshot",)})


def test_it_is_said_when_pairs_repeat_in_a_batch(dry):
    assert "they repeat" not in dry()
    said = "batch_size=96 is more than the 80 pairs: they repeat"
    assert said in dry(**{"batch_size": 96, "unimodal.bank_size": 96})


def test_it_is_said_when_captions_lose_the_phrase_of_a_text_backdoor(dry):
    attack = {"attack.kind": "text_backdoor", "attack.rate": 0.1, "evaluate.source": "scenes"}
    assert "lose attack.phrase" not in dry(**attack, **{"data.context": 32})
    assert "8 poisoned captions lose attack.phrase" in dry(**{"data.context": 4})


def test_it_is_said_when_a_run_ends_before_its_first_pools(dry):
    said = "epochs=4 end before safeclip makes its first pools, in epoch 7: nothing is filtered"
    assert said in dry(**{"defense": "safeclip", "safeclip.warmup_epochs": 5})
    assert "nothing is filtered" not in dry(**{"safeclip.warmup_epochs": 1})
    assert "nothing is filtered" not in dry(defense="none")
