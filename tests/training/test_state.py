"""A run's state holds what its objectives keep, and nothing of others."""

import jax
import orbax.checkpoint as ocp
import pytest

from safeclip_jax.defenses import DEFENSES
from safeclip_jax.runs import settings
from safeclip_jax.training.checkpoint import Checkpoints
from safeclip_jax.training.experiment import build
from tests.support.untrained import untrained

BOTH = {"image_bank", "text_bank"}
BANKS = {"safeclip": BOTH, "published": BOTH, "roclip": {"text_bank"}}


@pytest.fixture
def small(config):
    config.data.pairs, config.evaluate.source, config.attack.rate = 100, "", 0.0
    return config


@pytest.mark.parametrize("defense", DEFENSES)
def test_banks_are_there_where_an_objective_uses_them(defense, small, monkeypatch):
    small.defense = defense
    if defense in ("cleanclip", "par"):
        monkeypatch.setattr(type(settings.of(small).plan), "check", lambda *_: None)
    state = jax.eval_shape(build(small).initial_state)
    anchor = {"anchor"} if defense == "par" else set()
    assert state.kept.keys() == BANKS.get(defense, anchor)
    for name in state.kept.keys() - anchor:
        assert state.kept[name].rows.shape == (2, 64, 64)
    if anchor:
        assert jax.tree.structure(state.kept["anchor"]) == jax.tree.structure(state.variables)


def test_a_run_that_is_too_short_for_the_banks_has_none(small):
    small.defense, small.epochs = "roclip", 1
    assert not jax.eval_shape(build(small).initial_state).kept


@pytest.mark.parametrize("defense", ["none", "safeclip"])
def test_a_checkpoint_has_the_banks_of_its_state_alone(defense, small, tmp_path):
    small.defense = defense
    untrained(small, tmp_path)
    (step,) = (tmp_path / "checkpoints").iterdir()
    stored = ocp.PyTreeCheckpointHandler().metadata((step / "state").absolute()).tree
    assert stored["kept"].keys() == BANKS.get(defense, set())
    state = build(small).initial_state()
    restored, _ = Checkpoints(tmp_path, 2).restore(state)
    assert restored.kept.keys() == state.kept.keys()
