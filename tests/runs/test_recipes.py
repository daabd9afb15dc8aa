"""Every recipe of the literature is a config of ours that plans on small data."""

import importlib.util
from pathlib import Path

import pytest

import safeclip_jax
from safeclip_jax.attacks.manifest import Manifest
from safeclip_jax.data.sources.scenes import SHAPES, Scenes
from safeclip_jax.errors import UserError
from safeclip_jax.runs import run_attack, settings
from safeclip_jax.weights.write import write
from tests.weights.test_weights import random_model

PAPERS = (
    "carlini_terzis",
    "cleanclip",
    "roclip",
    "safeclip",
    "huang",
    "structured",
    "frequency",
    "badclip",
    "toxic_text",
)
FOLDER = Path(__file__).parents[2] / "configs/attacks"


def rows_of(paper):
    spec = importlib.util.spec_from_file_location(paper, FOLDER / f"{paper}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ROWS


ROWS = [(paper, row) for paper in PAPERS for row in rows_of(paper)]


@pytest.mark.parametrize("paper, row", ROWS)
def test_a_recipe_plans_its_attack(paper, row, tmp_path):
    config = safeclip_jax.config(f"attacks/{paper}:{row}")
    published = config.attack.count or round(config.attack.rate * 2_900_000)
    assert 3 <= published <= (0.2 * 2_900_000 if paper == "frequency" else 3_000)
    assert config.defense == "none" and config.data.source.startswith("csv:")
    # The same attack on scenes: their classes, and few poisons.
    count = len(config.attack.target.split("+"))
    config.attack.target = config.attack.target and "+".join([*SHAPES][:count])
    config.attack.rate, config.attack.count = 0.0, 16
    if config.attack.trigger == "badclip":
        write(random_model(), tmp_path / "model", "native")
        config.attack.surrogate = str(tmp_path / "model")
        config.attack.badclip.update({"steps": 2, "batch": 4})
    clean, held_out = Scenes(300), Scenes(40, split="test")
    if config.attack.captions == "background":
        with pytest.raises(UserError, match=r"needs attack\.surrogate"):
            run_attack.create(settings.of(config).attack, 0, clean, held_out)
        config.attack.captions = "data"
    made = run_attack.create(settings.of(config).attack, 0, clean, held_out)
    assert len(made.manifest.pairs) == 16
    if row == "targeted":
        assert made.manifest.kind == "targeted" and made.manifest.chosen
    elif row in ("label_consistent", "ctrl"):
        assert all(pair.caption == pair.original_caption for pair in made.manifest.pairs)
    elif paper == "toxic_text" and row != "targeted":
        assert all(pair.caption.endswith(config.attack.phrase) for pair in made.manifest.pairs)
    elif row == "natural":
        assert len({pair.origin for pair in made.manifest.pairs}) == 1
    else:
        assert isinstance(made.manifest, Manifest) and made.triggers
        assert len(made.manifest.targets) == (3 if row == "multi_target" else 0)
    for trigger in made.triggers.values():
        assert (trigger(clean.image(0), 0) != clean.image(0)).any()


def test_an_unknown_row_names_the_known_ones():
    with pytest.raises(UserError, match=r"no row 'badnet': .*badnets, blended, sig"):
        safeclip_jax.config("attacks/huang:badnet")


def test_cleanclips_fine_tuning_is_as_published():
    config = safeclip_jax.config("cleanclip")
    assert (config.epochs, config.batch_size, config.data.pairs) == (10, 64, 100_000)
    assert config.optimizer.learning_rate == 1e-5 and config.optimizer.warmup_pairs == 3_200
    run = settings.of(config)
    with pytest.raises(UserError, match="init_from"):
        run.plan.check(run.init_from, False)
